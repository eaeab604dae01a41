package output

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"dormouse/internal/filenames"
)

// inotifyInstances returns how many inotify instances this process has.
func inotifyInstances() (n int) {
	for _, fd := range filenames.NumbersIn("/proc/self/fd") {
		if target, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); target == "anon_inode:inotify" {
			n++
		}
	}
	return n
}

// All files are watched by one inotify instance, more of them than a user may have instances,
// and none is left when the last file is closed.
func TestOneInotifyInstance(t *testing.T) {
	dir := t.TempDir()
	const files = 300
	readers, writers := make([]*outputFile, files), make([]*os.File, files)
	lines := make([]*bufio.Reader, files)
	for i := range files {
		var err error
		if readers[i], writers[i], err = openOutputFile(filepath.Join(dir, strconv.Itoa(i/2))); err != nil { // each is read twice
			t.Fatal(err)
		}
		lines[i] = bufio.NewReader(readers[i])
	}
	if n := inotifyInstances(); n != 1 {
		t.Errorf("there are %d inotify instances", n)
	}
	if _, _, err := openOutputFile(filepath.Join(dir, "missing", "file")); err == nil {
		t.Error("a file in a missing directory was opened")
	}
	for round := range 3 {
		got := make(chan error)
		for i := range files {
			go func() {
				line, err := lines[i].ReadString('\n')
				if want := fmt.Sprintf("line %d\n", round); err == nil && line != want {
					err = fmt.Errorf("it read %q", line)
				}
				got <- err
			}()
		}
		for i := 0; i < files; i += 2 {
			if _, err := fmt.Fprintf(writers[i], "line %d\n", round); err != nil {
				t.Error(err)
			}
		}
		for range files {
			if err := <-got; err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range files {
		if err := errors.Join(readers[i].Close(), writers[i].Close()); err != nil {
			t.Error(err)
		}
	}
	if n := inotifyInstances(); n != 0 {
		t.Errorf("%d inotify instances are left", n)
	}
}

// What was written before the deadline is read after it, and what waits returns then.
func TestDeadlineOfOutputFile(t *testing.T) {
	r, w, err := openOutputFile(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		var err error
		for err == nil {
			_, err = r.Read(make([]byte, 1))
		}
		ended <- err
	}()
	if err := errors.Join(r.SetReadDeadline(time.Now().Add(time.Hour)), r.SetReadDeadline(time.Now()), r.SetReadDeadline(time.Now())); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Logf("the read ended with %v", err)
	}
	if _, err := fmt.Fprint(w, "x"); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("it read %d bytes, %v", n, err)
	}
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		t.Error(err)
	}
}
