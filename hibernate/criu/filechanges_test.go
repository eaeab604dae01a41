package criu_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/internal/procfs"
)

// While a plugin sleeps other processes may do to its data what they may do while it runs.
func TestFilesChangedAsleep(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	for name, test := range map[string]struct {
		object, file string
		change       func(path string) error
		want         string // what the error is about, "" if the plugin wakes
	}{
		"touched":            {"offset", "f", func(path string) error { return os.WriteFile(path, []byte("0123456789"), 0o600) }, ""},
		"other contents":     {"offset", "f", func(path string) error { return os.WriteFile(path, []byte("xxxx45xxxx"), 0o600) }, ""},
		"grown":              {"offset", "f", func(path string) error { return os.WriteFile(path, []byte("0123456789abcdef"), 0o600) }, ""},
		"shrunk":             {"offset", "f", func(path string) error { return os.WriteFile(path, []byte("012345"), 0o600) }, ""},
		"another mode":       {"offset", "f", func(path string) error { return os.Chmod(path, 0o644) }, ""}, //nolint:gosec // it is the test
		"replaced":           {"offset", "f", func(path string) error { return replaceFile(path, "xxxx45xxxx0") }, ""},
		"renamed":            {"offset", "f", func(path string) error { return os.Rename(path, path+".1") }, ""},
		"gone":               {"offset", "f", os.Remove, "Can't open file DIR/f on restore: No such file"},
		"mapped, written":    {"file-shared", "shared", func(path string) error { return writeAt(path, "five.", 100) }, ""},
		"mapped, grown":      {"file-shared", "shared", func(path string) error { return writeAt(path, "five.", 5000) }, ""},
		"private, written":   {"private-file", "private", func(path string) error { return writeAt(path, "five.", 6000) }, ""},
		"mapped, other mode": {"file-shared", "shared", func(path string) error { return os.Chmod(path, 0o640) }, ""}, //nolint:gosec // it is the test
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, said := startHolder(t, program, test.object)
			defer h.end(t)
			if said != "ready" {
				t.Fatalf("it says %q before the sleep", said)
			}
			h.asleep = func() { must(t, test.change(filepath.Join(h.dir, test.file))) }
			err := h.sleep(t, e)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(test.want, "DIR", h.dir)) || errors.Is(err, hibernate.ErrRefused) {
					t.Errorf("error %v, want one about %s that may pass", err, test.want)
				}
				return
			}
			if said := h.check(); err != nil || said != "ok" {
				t.Errorf("error %v, it says %q", err, said)
			}
		})
	}
}

// replaceFile puts another file in the place of the one at path.
func replaceFile(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// writeAt writes the text into the file at path.
func writeAt(path, text string, offset int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), offset)
	return errors.Join(err, f.Close())
}

// meddlingEngine is an engine that does something between what the host sees of the running
// tree and the dump.
type meddlingEngine struct {
	*criu.Engine
	meddle func(treePIDs []int)
}

// Dump calls meddle first.
func (e *meddlingEngine) Dump(ctx context.Context, d hibernate.DumpOrder) error {
	e.meddle(procfs.Tree(d.PID))
	return e.Engine.Dump(ctx, d)
}

// A process that is stopped just before the dump stays stopped after the wake, and one that
// is continued just before the dump runs on.
func TestProcessStoppedOrContinuedJustBeforeTheDump(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	for object, signal := range map[string]unix.Signal{"stopped-child": unix.SIGCONT, "grandchildren": unix.SIGSTOP} {
		t.Run(object, func(t *testing.T) {
			t.Parallel()
			h, said := startHolder(t, program, object)
			defer h.end(t)
			if said != "ready" {
				t.Fatalf("it says %q before the sleep", said)
			}
			stops := signal == unix.SIGSTOP
			must(t, h.sleep(t, &meddlingEngine{e, func(pids []int) {
				last := pids[len(pids)-1]
				must(t, unix.Kill(last, signal))
				wait(t, "the process to obey", func() bool { return procfs.IsStopped(last) == stops })
			}}))
			pids := procfs.Tree(h.PID())
			last := pids[len(pids)-1]
			if procfs.IsStopped(last) != stops {
				t.Errorf("whether it is stopped after the wake is wrong: %t", !stops)
			}
			must(t, unix.Kill(last, unix.SIGCONT))
			if said := h.check(); stops && said != "ok" { // the other object is no longer what the program made
				t.Errorf("it says %q", said)
			}
		})
	}
}
