package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"google.golang.org/protobuf/proto"

	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/procfs"
)

var versionRequest = &rpc.CriuReq{Type: rpc.CriuReqType_VERSION.Enum()}

// fakeCRIU returns a program in place of CRIU: a shell script, whose "$1" is "swrk".
func fakeCRIU(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "criu")
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700)) //nolint:gosec // it is a program
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startFake starts the executable at path in place of CRIU.
func startFake(t *testing.T, path string, files ...*os.File) *criuProcess {
	t.Helper()
	c, err := startCRIU(path, "", files)
	must(t, err)
	return c
}

// readNumbers returns the numbers in the file.
func readNumbers(t *testing.T, path string) []int {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	var all []int
	for field := range strings.FieldsSeq(string(text)) {
		n, err := strconv.Atoi(field)
		must(t, err)
		all = append(all, n)
	}
	return all
}

// killAtEnd kills the processes whose PIDs are in the file.
func killAtEnd(t *testing.T, path string) {
	t.Helper()
	t.Cleanup(func() { signalAll(readNumbers(t, path), syscall.SIGKILL) })
}

// A CRIU may answer and end while another process holds its end of the socket: the
// answer counts, and without one sendAndAwaitAnswer does not wait.
func TestAnswerOfAnEndedCRIU(t *testing.T) {
	answer, err := proto.Marshal(&rpc.CriuResp{
		Type: rpc.CriuReqType_VERSION.Enum(), Success: new(true),
		Version: &rpc.CriuVersion{MajorNumber: new(int32(4)), MinorNumber: new(int32(2))},
	})
	must(t, err)
	dir := t.TempDir()
	text, pids := filepath.Join(dir, "answer"), filepath.Join(dir, "pids")
	must(t, os.WriteFile(text, answer, 0o600))
	killAtEnd(t, pids)
	leaveHelper := fmt.Sprintf("sleep 1000 & echo $! >>%s", pids)
	for range 20 {
		c := startFake(t, fakeCRIU(t, leaveHelper+"\ncat "+text+" >&3"))
		resp, err := c.sendAndAwaitAnswer(t.Context(), versionRequest, nil)
		c.endOrKillAndWait()
		if err != nil || resp.GetVersion().GetMajorNumber() != 4 {
			t.Fatalf("got %v, %v", resp, err)
		}
		c = startFake(t, fakeCRIU(t, leaveHelper))
		_, err = c.sendAndAwaitAnswer(t.Context(), versionRequest, nil)
		c.endOrKillAndWait()
		if err == nil || !strings.Contains(err.Error(), "ended without an answer") {
			t.Fatalf("got %v", err)
		}
	}
}

// The error is the same when a CRIU ends before it has read the request.
func TestCRIUEndsBeforeTheRequest(t *testing.T) {
	c := startFake(t, fakeCRIU(t, "exec sleep 1000"))
	_, err := c.conn.Write([]byte("left unread"))
	must(t, err)
	c.killWithHelpers()
	<-c.ended
	_, err = c.sendAndAwaitAnswer(t.Context(), versionRequest, nil)
	c.endOrKillAndWait()
	if err == nil || !strings.Contains(err.Error(), "ended without an answer") {
		t.Errorf("got %v", err)
	}
}

// A CRIU that does not answer is given up when the context ends, and is killed with
// its helpers.
func TestCRIUWithoutAnAnswer(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	killAtEnd(t, pids)
	c := startFake(t, fakeCRIU(t, fmt.Sprintf("sleep 1000 & echo $$ $! >%[1]s.new; mv %[1]s.new %[1]s; wait", pids)))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for {
			if _, err := os.Stat(pids); err == nil {
				return
			}
		}
	}()
	_, err := c.sendAndAwaitAnswer(ctx, versionRequest, nil)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	c.endOrKillAndWait()
	for _, pid := range readNumbers(t, pids) {
		for late := time.Now().Add(time.Minute); !procfs.HasEnded(pid); { // the kernel may take a moment
			if time.Now().After(late) {
				t.Fatalf("process %d still runs", pid)
			}
		}
	}
}

// CRIU gets the files in their order, one that occurs twice twice, and nothing else;
// and no process that is started meanwhile gets any of that.
func TestDescriptorsOfCRIU(t *testing.T) {
	dir := t.TempDir()
	a, err := os.Create(filepath.Join(dir, "a"))
	must(t, err)
	defer a.Close()
	b, err := os.Create(filepath.Join(dir, "b"))
	must(t, err)
	defer b.Close()
	path := fakeCRIU(t, "printf a >&4; printf b >&5; printf c >&6; [ ! -e /proc/$$/fd/7 ] || touch "+dir+"/more")
	over := make(chan struct{})
	go func() {
		defer close(over)
		for range 50 {
			c := startFake(t, path, a, b, a)
			<-c.ended
			c.endOrKillAndWait()
		}
	}()
	for running := true; running; {
		select {
		case <-over:
			running = false
		default:
		}
		out, err := exec.Command("sh", "-c", "ls -l /proc/$$/fd").Output()
		if err != nil || strings.Contains(string(out), "socket:") || strings.Contains(string(out), dir) {
			t.Fatalf("%v, a process was started with\n%s", err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "more")); !errors.Is(err, os.ErrNotExist) {
		t.Error("it has a descriptor more")
	}
	for path, want := range map[string]string{"a": strings.Repeat("ac", 50), "b": strings.Repeat("b", 50)} {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%s holds %s, %v", path, got, err)
		}
	}
}

// CRIU may open as many files as the hard limit allows. The limits of this process and
// of its other children stay.
func TestOpenFilesOfCRIU(t *testing.T) {
	const few = 200
	lowerOpenFiles(t, few)
	var before, after syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before))
	limits := filepath.Join(t.TempDir(), "limits")
	c := startFake(t, fakeCRIU(t, "ulimit -Sn >"+limits+"; ulimit -Hn >>"+limits))
	<-c.ended
	c.endOrKillAndWait()
	if got := readNumbers(t, limits); got[0] != got[1] || got[0] <= few {
		t.Errorf("its soft and hard limits are %v", got)
	}
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &after))
	if before != after {
		t.Errorf("the limits of this process were %v and are %v", before, after)
	}
	out, err := exec.Command("sh", "-c", "ulimit -Sn").Output()
	if err != nil || strings.TrimSpace(string(out)) != strconv.Itoa(few) {
		t.Errorf("another child may open %s files, %v", out, err)
	}
}

// lowerOpenFiles sets the soft limit of open files of this process for the test.
func lowerOpenFiles(t *testing.T, limit uint64) {
	t.Helper()
	var was syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: was.Max}))
	t.Cleanup(func() { must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)) })
}

// Linux may kill at once what is born in a cgroup that was killed before. That is an
// error, and leaves nothing.
func TestCRIUKilledAtBirth(t *testing.T) {
	group := hibernatetest.NewCgroup(t)
	if group == "" {
		hibernatetest.SkipOrFail(t, errors.New("there is no cgroup v2"))
	}
	must(t, group.KillAndWait())
	c, err := startCRIU(fakeCRIU(t, "exit"), group, nil)
	if err == nil { // this kernel doesn't
		<-c.ended
		c.endOrKillAndWait()
	}
	if left := group.Members(); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	if _, err := startCRIU(fakeCRIU(t, "exit"), group.Child("none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a cgroup that does not exist: %v", err)
	}
	if _, err := startCRIU(filepath.Join(t.TempDir(), "none"), "", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a CRIU that does not exist: %v", err)
	}
}
