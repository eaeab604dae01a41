package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/regularfile"
)

// copyOpen copies a store with its log as a power cut would leave them, while it is open.
func copyOpen(t *testing.T, path, to string) {
	t.Helper()
	for _, suffix := range []string{"", walSuffix, shmSuffix} {
		text, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(to+suffix, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// cutOff returns the path of a store that was cut off from power after the numbers 0 to count-1
// were put, each with a commit of its own. All of them are in its log.
func cutOff(t *testing.T, count int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, path)
	for n := range count {
		if err := BucketOf[int](s, "numbers").Put(fmt.Sprint(n), n); err != nil {
			t.Fatal(err)
		}
	}
	cut := filepath.Join(t.TempDir(), "store.db")
	copyOpen(t, path, cut)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return cut
}

// The index of the log is only a cache: without it, and with one that does not fit, all is
// there.
func TestIndexOfTheLogIsMadeAnew(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"missing": os.Remove,
		"zeroed":  func(path string) error { return os.WriteFile(path, make([]byte, 32<<10), 0o600) },
		"of another": func(path string) error {
			text, err := os.ReadFile(cutOff(t, 3) + shmSuffix)
			return errors.Join(err, os.WriteFile(path, text, 0o600))
		},
		"short": func(path string) error { return os.Truncate(path, 100) },
	} {
		t.Run(name, func(t *testing.T) {
			path := cutOff(t, 20)
			if err := spoil(path + shmSuffix); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, path)
			if all, err := BucketOf[int](s, "numbers").All(); len(all) != 20 || err != nil {
				t.Errorf("there are %d, %v", len(all), err)
			}
		})
	}
}

// A frame of the log that is damaged in the middle loses no more than what no later one has;
// one at the end is taken for a change that a power cut interrupted.
func TestDamagedLog(t *testing.T) {
	const count = 20
	whole := cutOff(t, count)
	log, err := os.ReadFile(whole + walSuffix)
	if err != nil {
		t.Fatal(err)
	}
	const frame = pageSize + 24
	frames := (len(log) - 32) / frame
	for _, at := range points(t, frames, 6) {
		path := filepath.Join(t.TempDir(), "store.db")
		copyOpen(t, whole, path)
		damaged := bytes.Clone(log)
		for i := range 64 {
			damaged[32+at*frame+24+i*60] ^= 0xff
		}
		if err := os.WriteFile(path+walSuffix, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, told := openTelling(t, path, time.Hour)
		all, err := BucketOf[int](s, "numbers").All()
		if err != nil {
			t.Fatal(err)
		}
		inLast := at >= frames-4 // of the last two changes
		switch {
		case s.Rebuilt() && (len(told) == 0 || len(all) < count-1):
			t.Errorf("frame %d of %d: there are %d, told %d", at, frames, len(all), len(told))
		case !s.Rebuilt() && (!inLast || len(all) < count-2):
			t.Errorf("frame %d of %d: there are %d, and nothing was told", at, frames, len(all))
		}
		check(t, s)
		_ = s.Close()
	}
}

// A log that is cut at any byte loses the changes after the cut, and no other.
func TestCutLog(t *testing.T) {
	const count = 20
	whole := cutOff(t, count)
	info, err := os.Stat(whole + walSuffix)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range points(t, int(info.Size())/1000, 6) {
		path := filepath.Join(t.TempDir(), "store.db")
		copyOpen(t, whole, path)
		if err := os.Truncate(path+walSuffix, int64(at)*1000); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, path)
		all, err := BucketOf[int](s, "numbers").All()
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(all) {
			if all[fmt.Sprint(n)] != n {
				t.Errorf("cut at %d: there are %d, and %d is not among them", at*1000, len(all), n)
			}
		}
		_ = s.Close()
	}
}

// Without the file, changes in its log are of no use: they are put aside, and a new store
// begins empty. An emptied file is a damaged one.
func TestLogWithoutFile(t *testing.T) {
	path := cutOff(t, 20)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s, told := openTelling(t, path, time.Hour)
	if all, err := BucketOf[int](s, "numbers").All(); len(all) != 0 || err != nil || !s.Rebuilt() {
		t.Errorf("there are %v, %v", all, err)
	}
	if message := <-told; !strings.Contains(message, "they are kept as "+path+"-wal.stray-") {
		t.Errorf("told %q", message)
	}

	path = cutOff(t, 20)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	s, told = openTelling(t, path, time.Hour)
	if all, err := BucketOf[int](s, "numbers").All(); len(all) != 20 || err != nil || !s.Rebuilt() {
		t.Errorf("there are %d, %v", len(all), err)
	}
	if message := <-told; !strings.Contains(message, "were copied into a new file") {
		t.Errorf("told %q", message)
	}
}

// All that a store has on disk is for its owner alone.
func TestModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	dir := t.TempDir()
	s := openStore(t, filepath.Join(dir, "store.db"))
	if err := BucketOf[int](s, "numbers").Put("n", 1); err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadDir(dir)
	if len(all) != 4 || err != nil {
		t.Errorf("there are %v, %v", all, err)
	}
	for _, entry := range all {
		if info, err := entry.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has the mode %v, %v", entry.Name(), info.Mode(), err)
		}
	}
}

// What is no regular file is refused at once in the place of the store and of each file beside
// it. The store itself may be a link to another place, and has its log there.
func TestOtherKindsOfFiles(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	for _, suffix := range []string{"", walSuffix, shmSuffix, lockSuffix, markSuffix} {
		for name, put := range map[string]func(path string) error{
			"pipe":      func(path string) error { return unix.Mkfifo(path, 0o600) },
			"directory": func(path string) error { return os.Mkdir(path, 0o700) },
			"link":      func(path string) error { return os.Symlink(elsewhere, path) },
		} {
			if name == "link" && suffix != walSuffix && suffix != shmSuffix {
				continue
			}
			path := filepath.Join(t.TempDir(), "store.db")
			if err := put(path + suffix); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path, Options{})
			if _, isPath := errors.AsType[*fs.PathError](err); !errors.Is(err, regularfile.ErrNotRegular) && !isPath {
				t.Errorf("%s in the place of store.db%s: %v", name, suffix, err)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.Symlink(elsewhere, path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(elsewhere, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, path)
	if _, err := os.Stat(elsewhere + walSuffix); err != nil {
		t.Error(err)
	}
	if err := s.View(context.Background(), func(*Tx) error { return nil }); err != nil {
		t.Error(err)
	}
}
