package criu_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/kinds"
	"dormouse/hibernate/hibernatetest"
	"dormouse/hibernate/pack"
	"dormouse/internal/cgroup"
	"dormouse/internal/native"
	"dormouse/internal/procfs"
)

// holder is a process of the C program in testdata/objects, behind pid 1 of its
// namespace. It holds one kind of kernel object. It is a hibernate.Tree that is connected
// to the outside by two pipes only.
type holder struct {
	object    string
	dir       string
	cgroup    cgroup.Dir
	root      *os.Process
	in        *os.File // ours
	out       *os.File
	lines     *bufio.Reader
	theirs    [2]*os.File
	keys      [2]string
	imageKeys [2]string        // the keys at the last checkpoint
	store     *hibernate.Store // while it sleeps
	asleep    func()           // is called while it sleeps, may be nil
	packed    pack.Options
}

func (h *holder) PID() int                      { return h.root.Pid }
func (h *holder) Cgroup() cgroup.Dir            { return h.cgroup }
func (h *holder) Quiesce(context.Context) error { return nil }
func (h *holder) Revive(context.Context) error  { return nil }
func (h *holder) OwnerRecord() (any, error)     { return nil, nil }
func (h *holder) Kill(context.Context) {
	_ = h.root.Kill()
	_, _ = h.root.Wait()
}

// isAlive reports whether pid 1 and the program run still.
func (h *holder) isAlive() bool {
	tree := procfs.Tree(h.PID())
	return len(tree) > 1 && !slices.ContainsFunc(tree, procfs.HasEnded)
}

// endsSoon reports whether the program ends within a second, as one does that is being killed.
func (h *holder) endsSoon() bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(time.Second); h.isAlive(); <-tick.C {
		if time.Now().After(late) {
			return false
		}
	}
	return true
}

// compileHolder returns the path of the program, and the names of its objects.
func compileHolder(t *testing.T) (path string, objects []string) {
	t.Helper()
	sources, err := filepath.Glob("testdata/objects/*.c")
	must(t, err)
	path = filepath.Join(t.TempDir(), "objects")
	arguments := append([]string{"-O1", "-static", "-pthread", "-o", path}, sources...)
	if said, err := exec.Command("gcc", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("cannot compile the subject: %v\n%s", err, said)
	}
	names, err := exec.Command(path).Output()
	must(t, err)
	return path, strings.Fields(string(names))
}

// startHolder starts the program with the object, and returns its first line: "ready"
// unless the machine lacks the object.
func startHolder(t *testing.T, program, object string) (*holder, string) {
	t.Helper()
	return startHolderIn(t, t.TempDir(), program, object)
}

// startHolderIn is like startHolder, in the directory.
func startHolderIn(t *testing.T, dir, program, object string) (*holder, string) {
	t.Helper()
	h := &holder{object: object, dir: dir, cgroup: hibernatetest.NewCgroup(t)}
	if object == "socket-settings" {
		writeOptions(t, h.dir)
	}
	pidone, err := native.InstallPidone(filepath.Dir(program))
	must(t, err)
	h.pipes(t)
	cmd := exec.Command(pidone, program, object)
	cmd.Dir = h.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "CGROUP=" + string(h.cgroup)}
	cmd.Stdin, cmd.Stdout = h.theirs[0], h.theirs[1]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if h.cgroup != "" {
		leaf, err := os.Open(string(h.cgroup))
		must(t, err)
		defer leaf.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(leaf.Fd())
	}
	must(t, cmd.Start())
	h.closeTheirs()
	h.root = cmd.Process
	return h, h.line()
}

// pipes creates new pipes, and notes the inodes of the old ones.
func (h *holder) pipes(t *testing.T) {
	t.Helper()
	if h.in != nil {
		h.keys = [2]string{inode(t, h.in), inode(t, h.out)}
		h.close()
	}
	var err error
	h.theirs[0], h.in, err = os.Pipe()
	must(t, err)
	h.out, h.theirs[1], err = os.Pipe()
	must(t, err)
	h.lines = bufio.NewReader(h.out)
}

func (h *holder) close() {
	_ = h.in.Close()
	_ = h.out.Close()
}

func (h *holder) closeTheirs() {
	_ = h.theirs[0].Close()
	_ = h.theirs[1].Close()
}

func (h *holder) line() string {
	_ = h.out.SetReadDeadline(time.Now().Add(20 * time.Second))
	line, err := h.lines.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

// check makes the program use its object for the last time, and returns "ok" or what is wrong.
func (h *holder) check() string { return h.tell("check") }

// tell gives the program a word, "use" or "check", and returns "ok" or what is wrong.
func (h *holder) tell(word string) string {
	_, _ = h.in.WriteString(word + "\n") // a dead program gives no answer
	return h.line()
}

// sleepAndUse takes the program through so many checkpoints and wakes, and has it use its
// object after each wake but the last. It returns what the program says when it can't, or
// "ok". The caller must check the object after the last wake.
func (h *holder) sleepAndUse(t *testing.T, e hibernate.Engine, times int) (said string, err error) {
	t.Helper()
	for round := range times {
		if round > 0 {
			if said := h.tell("use"); said != "ok" {
				return said, nil
			}
		}
		if err := h.sleep(t, e); err != nil {
			return "", fmt.Errorf("sleep %d: %w", round+1, err)
		}
	}
	return "ok", nil
}

// end kills and reaps the program, and removes a cgroup that the program made.
func (h *holder) end(t *testing.T) {
	t.Helper()
	h.close()
	h.Kill(t.Context())
	if h.cgroup != "" {
		if err := os.Remove(string(h.cgroup.Child("sub"))); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
}

// sleep takes the program through a checkpoint and a wake.
func (h *holder) sleep(t *testing.T, e hibernate.Engine) error {
	t.Helper()
	store, err := hibernate.OpenStore(t.TempDir())
	must(t, err)
	defer store.Close()
	store.SetPacking(h.packed)
	h.store = store
	imageDir := store.ImageDir("Objects")
	image, err := hibernate.Checkpoint(t.Context(), e, imageDir, h)
	if err != nil {
		return err
	}
	if strings.Contains(h.object, "clock") || strings.Contains(h.object, "wall") || strings.Contains(h.object, "unread") {
		<-time.After(timePassing)
	}
	if h.asleep != nil {
		h.asleep()
	}
	h.pipes(t)
	defer h.closeTheirs()
	root, err := repeatAfterTrap(func() (*os.Process, error) {
		return image.Restore(t.Context(), e, hibernate.WakeOptions{
			Cgroup:  h.cgroup,
			Files:   []hibernate.Inherited{{Key: h.keys[0], File: h.theirs[0]}, {Key: h.keys[1], File: h.theirs[1]}},
			Cleanup: func() error { return nil },
		})
	})
	if err != nil {
		return fmt.Errorf("wake: %w", err)
	}
	h.root = root
	return image.Discard()
}

// timePassing is how long the objects that measure time sleep.
const timePassing = 500 * time.Millisecond

// TestObjects takes every object through a sleep, and compares what happens with
// docs/sleeping.md.
func TestObjects(t *testing.T) {
	e := openEngine(t)
	program, names := compileHolder(t)
	known := []string{objectWithoutRow}
	for _, o := range objects {
		known = append(known, o.name)
	}
	slices.Sort(names)
	slices.Sort(known)
	if !slices.Equal(names, known) {
		t.Fatalf("the program has the objects %v, the table %v", names, known)
	}
	for _, o := range objects {
		t.Run(o.name, func(t *testing.T) {
			if !hasTerminal(o.name) { // their numbers are the host's: another test would take the number while one sleeps
				t.Parallel()
			}
			h, said := startHolder(t, program, o.name)
			defer h.end(t)
			if why, absent := strings.CutPrefix(said, "absent: "); absent {
				t.Skipf("this machine has none: %s", why)
			}
			if said != "ready" {
				t.Fatalf("it says %q before the sleep", said)
			}
			pids := procfs.Tree(h.PID())
			foreseen := errors.Join(e.ObstaclesAnyTime(pids), e.ObstaclesWhenQuiet(pids))
			said, err := h.sleepAndUse(t, e, sleepsOf(o))
			if err != nil || said == "ok" {
				said = h.check()
			}
			row, _ := kinds.All().Find(o.kind)
			fate := row.Fate
			if o.kind == "other-user" && foreseen == nil { // the host has CAP_SYS_RESOURCE
				fate = kinds.ComesBack
			}
			switch {
			case fate == kinds.Refused && (!errors.Is(err, hibernate.ErrObstacle) || (foreseen == nil) != row.OnlyStopped):
				t.Errorf("foreseen %v, error %v; the program says %s", foreseen, err, said)
			case fate == kinds.Refused && errors.Is(err, hibernate.ErrPassing) != row.Passing:
				t.Errorf("whether it passes is wrong: %v", err)
			case fate == kinds.Refused && (!strings.Contains(err.Error(), o.words) || !strings.Contains(err.Error(), row.Advice)):
				t.Errorf("it is refused with %v, want %q and %q", err, o.words, row.Advice)
			case fate == kinds.Lost && (err != nil || !strings.HasPrefix(said, "not so")):
				t.Errorf("it is not lost: %v; the program says %s", err, said)
			case (fate == kinds.ComesBack || fate == kinds.BroughtBack) && err != nil:
				t.Errorf("it does not come back: %v; the program says %s", err, said)
			case fate != kinds.Lost && said != "ok":
				t.Errorf("the program says %q", said)
			}
		})
	}
}

// sleepsOf returns how often the test takes the object to sleep: three times for one object
// of each kind, and for all with DORMOUSE_FAULTS=all.
func sleepsOf(o object) int {
	if os.Getenv("DORMOUSE_FAULTS") == "all" || slices.IndexFunc(objects, func(p object) bool { return p.kind == o.kind }) == slices.Index(objects, o) {
		return 3
	}
	return 1
}

// withPageFiles are the objects whose contents are in page files, and some with large
// images. It lacks prot-none: memory that is loaded later is accounted otherwise.
var withPageFiles = []string{
	"anon-shared", "brk", "copy-on-write", "deleted-cwd", "deleted-executable", "deleted-small", "deleted-sparse", "dontdump", "file-shared",
	"grandchildren", "guard-pages", "many-children", "many-files", "many-mappings", "memfd", "mlock", "pipe", "private-file",
	"shm", "threads", "tmpfile", "transparent-huge", "wipeonfork", "zombie",
}

// TestObjectsPacked takes such objects through a sleep with a compressed and encrypted
// image.
func TestObjectsPacked(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	for _, object := range withPageFiles {
		t.Run(object, func(t *testing.T) {
			t.Parallel()
			h, said := startHolder(t, program, object)
			defer h.end(t)
			if why, absent := strings.CutPrefix(said, "absent: "); absent {
				t.Skipf("this machine has none: %s", why)
			}
			h.packed = pack.Options{Key: bytes.Repeat([]byte{7}, 32), Encrypt: true, Compress: true}
			must(t, h.sleep(t, e))
			if said := h.check(); said != "ok" {
				t.Errorf("the program says %q", said)
			}
		})
	}
}

// hasTerminal reports whether the object is a pseudo terminal.
func hasTerminal(object string) bool {
	return strings.HasPrefix(object, "pty") || object == "controlling-terminal"
}
