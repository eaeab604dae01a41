package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// writerEnv is the variable that makes the test binary a process that writes to the store
// that the variable names.
const writerEnv = "STORE_TEST_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		fmt.Fprintln(os.Stderr, writeNumbers(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeNumbers puts ever higher numbers into the store, and prints each one after its Put. If
// the variable ends in " dies" the process kills itself before its first commit.
func writeNumbers(variable string) error {
	path, dies := strings.CutSuffix(variable, " dies")
	s, err := Open(path, Options{})
	if err != nil {
		return err
	}
	if dies {
		return s.Update(context.Background(), func(tx *Tx) error {
			if err := BucketOf[int](s, "numbers").PutIn(tx, "n", 99); err != nil {
				return err
			}
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		})
	}
	for n := 1; ; n++ {
		if err := BucketOf[int](s, "numbers").Put("n", n); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(os.Stdout, n); err != nil {
			return err
		}
	}
}

type entry struct {
	Name string   `json:"name"`
	Tags []string `json:"tags,omitempty"`
}

func openStore(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, path)
	entries := BucketOf[entry](s, "entries")
	if _, found, err := entries.Get("a"); found || err != nil {
		t.Errorf("an empty store has it: %v, %v", found, err)
	}
	if all, err := entries.All(); len(all) != 0 || err != nil {
		t.Errorf("an empty store has %v, %v", all, err)
	}
	want := map[string]entry{"a": {Name: "one"}, "b": {Name: "two", Tags: []string{"x"}}}
	for key, e := range map[string]entry{"a": {Name: "none"}, "c": {Name: "three"}} {
		if err := entries.Put(key, e); err != nil {
			t.Fatal(err)
		}
	}
	for key, e := range want {
		if err := entries.Put(key, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(entries.Delete("c"), entries.Delete("never")); err != nil {
		t.Fatal(err)
	}
	if err := BucketOf[int](s, "others").Put("a", 7); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openStore(t, path)
	all, err := BucketOf[entry](s, "entries").All()
	if diff := cmp.Diff(want, all); diff != "" || err != nil {
		t.Errorf("after reopening (-want +got):\n%s%v", diff, err)
	}
	if n, found, err := BucketOf[int](s, "others").Get("a"); n != 7 || !found || err != nil {
		t.Errorf("the other bucket has %v, %v, %v", n, found, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
}

// A record with unknown fields can be read; a record of another type is an error.
func TestOtherVersions(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	if err := BucketOf[map[string]any](s, "entries").Put("a", map[string]any{"name": "one", "later": true}); err != nil {
		t.Fatal(err)
	}
	if e, _, err := BucketOf[entry](s, "entries").Get("a"); e.Name != "one" || err != nil {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, _, err := BucketOf[int](s, "entries").Get("a"); err == nil || !strings.Contains(err.Error(), `entries "a"`) {
		t.Errorf("got %v", err)
	}
}

func TestNilStoreForgets(t *testing.T) {
	b := BucketOf[int](nil, "numbers")
	if err := errors.Join(b.Put("n", 1), b.Delete("m"), (*Store)(nil).Close()); err != nil {
		t.Error(err)
	}
	if _, found, err := b.Get("n"); found || err != nil {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestManyWriters(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			if err := BucketOf[int](s, "numbers").Put(fmt.Sprint(n), n); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got, err := BucketOf[int](s, "numbers").All(); len(got) != 20 || err != nil {
		t.Errorf("there are %d, %v", len(got), err)
	}
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	openStore(t, path)
	begun := time.Now()
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), path+": another process uses it") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 10*lockTimeout {
		t.Errorf("it took %v", took)
	}
}

// After a kill the store has all numbers that were put, and none that was not begun.
func TestKilledWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
			t.Fatal(err)
		}
		if last == 30 {
			_ = cmd.Process.Kill() // earlier lines of the process can still be read
		}
	}
	_ = cmd.Wait()
	n, _, err := BucketOf[int](openStore(t, path), "numbers").Get("n")
	if n != last && n != last+1 || last < 30 || err != nil {
		t.Errorf("the store has %d (%v), the last acknowledged was %d", n, err, last)
	}
}

func TestKilledBeforeCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, path)
	if err := BucketOf[int](s, "numbers").Put("n", 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+path+" dies")
	if err := cmd.Run(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the writer ended with %v", err)
	}
	if n, _, err := BucketOf[int](openStore(t, path), "numbers").Get("n"); n != 1 || err != nil {
		t.Errorf("the store has %d, %v", n, err)
	}
}

func TestPlaceThatCannotBe(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none", "store.db"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
