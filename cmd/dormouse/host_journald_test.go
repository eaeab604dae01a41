package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

// journaldSocket is the path to which go-systemd sends, which it lets nothing change.
//
//go:linkname journaldSocket github.com/coreos/go-systemd/v22/journal.journalSocket
var journaldSocket string

// journaldSocketName is the variable that tells the program under test the socket of the
// fake journald.
const journaldSocketName = "DORMOUSE_TEST_JOURNALD"

// fakeJournald receives entries in the place of systemd's.
type fakeJournald struct {
	t    testing.TB
	path string
	conn *net.UnixConn
}

// newFakeJournald listens on a socket of its own.
func newFakeJournald(tb testing.TB) *fakeJournald {
	tb.Helper()
	f := &fakeJournald{t: tb, path: filepath.Join(tb.TempDir(), "j")}
	f.listen()
	tb.Cleanup(f.stop)
	return f
}

func (f *fakeJournald) listen() {
	f.t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: f.path, Net: "unixgram"})
	if err != nil {
		f.t.Fatal(err)
	}
	f.conn = conn
}

// stop closes the socket, as a journald that is gone.
func (f *fakeJournald) stop() {
	_ = f.conn.Close()
	_ = os.Remove(f.path)
}

// discardRest reads entries until the socket is closed: journald's clients wait for it.
func (f *fakeJournald) discardRest() {
	_ = f.conn.SetReadDeadline(time.Time{})
	for data := make([]byte, 4096); ; {
		if _, err := f.conn.Read(data); err != nil {
			return
		}
	}
}

// next returns the fields of the next entry.
func (f *fakeJournald) next() map[string]string {
	f.t.Helper()
	if err := f.conn.SetReadDeadline(time.Now().Add(testPatience)); err != nil {
		f.t.Fatal(err)
	}
	data, rights := make([]byte, 1<<20), make([]byte, 128)
	n, rn, _, _, err := f.conn.ReadMsgUnix(data, rights)
	if err != nil {
		f.t.Fatalf("no entry came: %v", err)
	}
	data = data[:n]
	if rn > 0 { // the entry is in a file
		messages, err := syscall.ParseSocketControlMessage(rights[:rn])
		if err != nil {
			f.t.Fatal(err)
		}
		fds, err := syscall.ParseUnixRights(&messages[0])
		if err != nil {
			f.t.Fatal(err)
		}
		file := os.NewFile(uintptr(fds[0]), "entry")
		defer file.Close()
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			f.t.Fatal(err)
		}
		if data, err = io.ReadAll(file); err != nil {
			f.t.Fatal(err)
		}
	}
	return f.parse(data)
}

// parse returns the fields of an entry in journald's native protocol.
func (f *fakeJournald) parse(data []byte) map[string]string {
	f.t.Helper()
	fields := make(map[string]string)
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		name, value, short := strings.Cut(string(line), "=")
		if !short { // the size of the value follows
			size := binary.LittleEndian.Uint64(rest)
			value, rest = string(rest[8:8+size]), rest[8+size+1:]
		}
		if _, twice := fields[name]; twice {
			f.t.Errorf("an entry has two fields %s", name)
		}
		fields[name], data = value, rest
	}
	return fields
}

// useFakeJournald has this process send to a fake journald.
func useFakeJournald(tb testing.TB) *fakeJournald {
	tb.Helper()
	f := newFakeJournald(tb)
	before := journaldSocket
	journaldSocket = f.path
	tb.Cleanup(func() { journaldSocket = before })
	return f
}

// Each line is an entry with its values as fields, also a line that no datagram holds.
func TestJournaldEntries(t *testing.T) {
	f := useFakeJournald(t)
	var stderr bytes.Buffer
	log := zerolog.New(newJournaldWriter(&stderr)).With().Timestamp().Logger()
	long := strings.Repeat("x", 3<<20)
	for _, test := range []struct {
		write func()
		want  map[string]string
	}{
		{func() { log.Info().Msg("ready") }, map[string]string{"PRIORITY": "6", "MESSAGE": "ready"}},
		{func() { log.Trace().Msg("t") }, map[string]string{"PRIORITY": "7", "MESSAGE": "t"}},
		{func() { log.Debug().Msg("d") }, map[string]string{"PRIORITY": "7", "MESSAGE": "d"}},
		{func() { log.Warn().Msg("w") }, map[string]string{"PRIORITY": "4", "MESSAGE": "w"}},
		{func() { log.Log().Msg("no level") }, map[string]string{"PRIORITY": "6", "MESSAGE": "no level"}},
		{
			func() { log.Error().Err(errors.New("it broke\nin two")).Str("callsign", "Counter").Msg("deactivated") },
			map[string]string{"PRIORITY": "3", "MESSAGE": `Counter: deactivated error="it broke\nin two"`, "CALLSIGN": "Counter", "DORMOUSE_ERROR": "it broke\nin two"},
		},
		{
			func() {
				log.Info().Int("pid", 7).Bool("ok", true).Str("a.b-c", "x=y").Interface("list", []int{1, 2}).Float64("ms", 1.5).Msg("")
			},
			map[string]string{
				"PRIORITY": "6", "MESSAGE": ` a.b-c="x=y" list=[1,2] ms=1.5 ok=true pid=7`,
				"DORMOUSE_PID": "7", "DORMOUSE_OK": "true", "DORMOUSE_A_B_C": "x=y", "DORMOUSE_LIST": "[1,2]", "DORMOUSE_MS": "1.5",
			},
		},
		{
			func() { log.Info().Str(strings.Repeat("k", 100), "v").Msg("m") },
			map[string]string{"PRIORITY": "6", "MESSAGE": "m " + strings.Repeat("k", 100) + "=v", "DORMOUSE_" + strings.Repeat("K", 55): "v"},
		},
		{func() { log.Info().Msg(long) }, map[string]string{"PRIORITY": "6", "MESSAGE": long}},
		{func() { log.Info().Msg("two\nlines") }, map[string]string{"PRIORITY": "6", "MESSAGE": "two\nlines"}},
	} {
		test.write()
		test.want["SYSLOG_IDENTIFIER"] = "dormouse"
		if diff := cmp.Diff(test.want, f.next()); diff != "" {
			t.Errorf("entry (-want +got):\n%.2000s", diff)
		}
	}
	if stderr.Len() > 0 {
		t.Errorf("on standard error is %s", stderr.String())
	}
}

// While there is no journald the lines go to standard error, after one that says why.
func TestJournaldIsGone(t *testing.T) {
	f := useFakeJournald(t)
	f.stop()
	var stderr bytes.Buffer
	log := zerolog.New(newJournaldWriter(&stderr))
	for range 2 {
		log.Info().Str("callsign", "Counter").Msg("hibernated")
	}
	lines := strings.Split(stderr.String(), "\n")
	want := `{"level":"info","callsign":"Counter","message":"hibernated"}`
	if len(lines) != 4 || !strings.Contains(lines[0], "systemd's journal takes no lines") || lines[1] != want || lines[2] != want {
		t.Errorf("got %q", lines)
	}
	stderr.Reset()
	f.listen()
	log.Info().Msg("again")
	if got := f.next()["MESSAGE"]; got != "again" || stderr.Len() > 0 {
		t.Errorf("got %q, on standard error %s", got, stderr.String())
	}
}

// A host whose standard error is journald's sends its lines and those of its plugins to the
// journal, another one does so only if it is told to.
func TestHostLogsToJournald(t *testing.T) {
	for name, test := range map[string]struct {
		format     string
		isJournals bool // standard error is journald's
		inJournal  bool
	}{
		"under systemd":                   {"auto", true, true},
		"standard error is another":       {"auto", false, false},
		"told to":                         {"journal", false, true},
		"told to write JSON nevertheless": {"json", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeJournald(t)
			cmd, stderr := journaldHost(t, f, test.format, test.isJournals)
			onStderr, failed := make(chan string, 1), make(chan struct{})
			go func() { onStderr <- readAndTellFailure(stderr, sync.OnceFunc(func() { close(failed) })) }()
			if test.inJournal {
				expectJournaldEntries(t, f)
				go f.discardRest()
			} else {
				if err := f.conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
					t.Fatal(err)
				}
				if n, err := f.conn.Read(make([]byte, 1)); err == nil {
					t.Errorf("%d bytes came to the journal", n)
				}
				select {
				case <-failed:
				case <-time.After(testPatience):
					t.Error("the faulty plugin is not told of")
				}
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			got := <-onStderr
			if all := strings.Contains(got, `"message":"listening"`) && strings.Contains(got, faultyLine); all == test.inJournal {
				t.Errorf("on standard error is %s", got)
			}
		})
	}
}

// faultyLine is a part of the line about the plugin that can't start.
const faultyLine = `"level":"error","callsign":"Faulty"`

// readAndTellFailure returns all that from has, and calls tell at the line about the plugin that
// can't start.
func readAndTellFailure(from io.Reader, tell func()) string {
	var all strings.Builder
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		all.WriteString(line)
		if strings.Contains(line, faultyLine) {
			tell()
		}
		if err != nil {
			return all.String()
		}
	}
}

// expectJournaldEntries reads entries until one of the host and two of the plugin were seen.
func expectJournaldEntries(t *testing.T, f *fakeJournald) {
	t.Helper()
	want := []struct{ priority, callsign, message string }{
		{"6", "", "listening address="}, {"3", "Faulty", "Faulty: no fuel "}, {"4", "Faulty", "Faulty: low "},
	}
	for len(want) > 0 {
		e := f.next()
		for i, w := range want {
			if e["PRIORITY"] == w.priority && e["CALLSIGN"] == w.callsign && strings.HasPrefix(e["MESSAGE"], w.message) {
				want = slices.Delete(want, i, i+1)
				break
			}
		}
	}
}

// journaldHost starts a host with a plugin that complains and ends. Its standard error is
// the write end of the returned pipe.
func journaldHost(t *testing.T, f *fakeJournald, format string, isJournals bool) (_ *exec.Cmd, stderr *os.File) {
	t.Helper()
	root := t.TempDir()
	config := filepath.Join(t.TempDir(), "dormouse.toml")
	text := `
[[plugin]]
callsign = "Faulty"
executable = "/bin/sh"
arguments = ["-c", "echo '<3>no fuel' >&2; echo 'level=warn msg=low' >&2; exit 1"]
start-mode = "activated"
`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	info, err := w.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st, _ := info.Sys().(*syscall.Stat_t)
	if !isJournals {
		st.Ino++
	}
	variables := []string{journaldSocketName + "=" + f.path, fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino)}
	cmd := command(context.WithoutCancel(t.Context()), variables, "serve", "--config", config, "--root", root, "--listen", "127.0.0.1:0", "--log-format", format)
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	t.Cleanup(func() {
		if t.Failed() {
			_ = cmd.Process.Kill()
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the host ended: %v", err)
		}
	})
	return cmd, r
}

// BenchmarkLogLine writes one line of a plugin as JSON and as an entry of the journal.
func BenchmarkLogLine(b *testing.B) {
	write := func(b *testing.B, w io.Writer) {
		b.Helper()
		log := zerolog.New(w).With().Timestamp().Str("callsign", "Counter").Str("stream", "stderr").Logger()
		b.ReportAllocs()
		for b.Loop() {
			log.Info().Int("n", 4711).Msg("a line of a plugin that says something of usual length")
		}
	}
	b.Run("json", func(b *testing.B) {
		r, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		defer w.Close()
		go func() { _, _ = io.Copy(io.Discard, r) }()
		write(b, w)
	})
	b.Run("journal", func(b *testing.B) {
		f := useFakeJournald(b)
		go f.discardRest()
		write(b, newJournaldWriter(io.Discard))
	})
}

// An error that keeps the host from starting has its priority in the journal, too.
func TestErrorOfVerbInJournald(t *testing.T) {
	for isJournal, want := range map[bool]string{
		true:  "<3>dormouse: cannot start\n<3>line 2\n",
		false: "dormouse: cannot start\nline 2\n",
	} {
		var stderr bytes.Buffer
		(&terminal{err: &stderr, errIsJournal: isJournal}).printError(errors.New("cannot start\nline 2"))
		if got := stderr.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
