package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// damagedInTheMiddle writes a file of which a page is damaged that Open does not look at, and
// returns its path.
func damagedInTheMiddle(t *testing.T) string {
	t.Helper()
	text := makeSample(t, swept)
	path := filepath.Join(t.TempDir(), "store.db")
	last := len(text)/pageSize - 1
	for text[last*pageSize] != 13 { // a page of letters
		last--
	}
	clear(text[last*pageSize : (last+1)*pageSize])
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openTelling opens the store, and sends what it tells.
func openTelling(t *testing.T, path string, after time.Duration) (*Store, chan string) {
	t.Helper()
	told := make(chan string, 1000)
	s, err := Open(path, Options{CheckAfter: after, Told: func(message string) { told <- message }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, told
}

// The check beside the work tells of damage, and the next start rebuilds the file.
func TestCheckBesideTheWork(t *testing.T) {
	path := damagedInTheMiddle(t)
	s, told := openTelling(t, path, 0)
	if message := <-told; !strings.Contains(message, "the store "+path+" is damaged: ") {
		t.Errorf("told %q", message)
	}
	if s.Health().Damage == "" {
		t.Error("the health says nothing")
	}
	if err := BucketOf[int](s, "numbers").Put("n", 1); err != nil {
		t.Errorf("what is not damaged can't be used: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, told = openTelling(t, path, time.Hour)
	if message := <-told; !s.Rebuilt() || !strings.Contains(message, "were copied into a new file") {
		t.Errorf("rebuilt %v, told %q", s.Rebuilt(), message)
	}
	if n, _, err := BucketOf[int](s, "numbers").Get("n"); n != 1 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	check(t, s)
}

// What runs into damage gets an ErrDamaged, and the next start rebuilds the file.
func TestDamageFoundByWork(t *testing.T) {
	path := damagedInTheMiddle(t)
	s, told := openTelling(t, path, time.Hour)
	err := s.View(context.Background(), func(tx *Tx) error {
		var n int
		return tx.QueryRow("SELECT sum(length(body)) FROM letters").Scan(&n)
	})
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	if message := <-told; !strings.Contains(message, "at its next start the host copies") {
		t.Errorf("told %q", message)
	}
	if _, found, err := readMark(path); !found || err != nil {
		t.Errorf("there is no mark (%v)", err)
	}
}

// The file is checked again while the store is open, so damage that comes later is found without
// work that runs into it.
func TestCheckedAgain(t *testing.T) {
	text := makeSample(t, swept)
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 1000)
	s, err := Open(path, Options{CheckEvery: time.Millisecond, Told: func(message string) { told <- message }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for s.Health().Checked.IsZero() {
		runtime.Gosched()
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	last := len(text)/pageSize - 1
	for text[last*pageSize] != 13 { // a page of letters
		last--
	}
	if _, err := f.WriteAt(make([]byte, pageSize), int64(last*pageSize)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if message := <-told; !strings.Contains(message, "is damaged") || !strings.Contains(message, "restart the host") {
		t.Errorf("told %q", message)
	}
}

// A file that is removed or replaced under the store is told once, with what to do.
func TestFileIsTaken(t *testing.T) {
	for name, take := range map[string]func(path string) error{
		"removed":      os.Remove,
		"another file": func(path string) error { return os.Rename(path+".other", path) },
	} {
		path := filepath.Join(t.TempDir(), "store.db")
		if err := os.WriteFile(path+".other", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		told := make(chan string, 1000)
		s, err := Open(path, Options{CheckAfter: time.Hour, LookEvery: time.Millisecond, Told: func(message string) { told <- message }})
		if err == nil {
			err = take(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		if message := <-told; !strings.Contains(message, name) || !strings.Contains(message, "put a backup there") {
			t.Errorf("told %q", message)
		}
		if h := s.Health(); !strings.Contains(h.Damage, name) || !strings.Contains(h.Mend, "put a backup there") {
			t.Errorf("the health says %+v", h)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if len(told) > 0 {
			t.Errorf("told again: %q", <-told)
		}
	}
}

// A check that finds nothing says when it was.
func TestCheckFindsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s, _ := openTelling(t, path, 0)
	s.checking.Wait()
	if h := s.Health(); h.Damage != "" || h.Checked.IsZero() {
		t.Errorf("got %+v", h)
	}
}

// One damaged record is set apart and told; all others are there.
func TestDamagedRecord(t *testing.T) {
	text := makeSample(t, swept)
	path := filepath.Join(t.TempDir(), "store.db")
	damaged := strings.Replace(string(text), "record 150 rrr", "record 150 rsr", 1)
	if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := Examine(context.Background(), path)
	if err != nil || len(x.Problems) != 1 || !strings.Contains(x.Problems[0], `things "key150"`) {
		t.Errorf("examined: %q, %v", x.Problems, err)
	}
	s, told := openTelling(t, path, time.Hour)
	if message := <-told; !strings.Contains(message, `things "key150" of the store is damaged, and left out`) {
		t.Errorf("told %q", message)
	}
	if lost := swept.missing(t, s, `"key150"`); lost.records != 1 || s.Rebuilt() {
		t.Errorf("lost %+v, rebuilt %v", lost, s.Rebuilt())
	}
}

// A backup of an open store is a whole store, and can take the place of the first.
func TestBackup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, path)
	swept.fill(t, s)
	to := path + ".backup"
	if err := Backup(context.Background(), path, to); err != nil {
		t.Fatal(err)
	}
	if err := Backup(context.Background(), path, to); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file that is there: %v", err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v, %v", info.Mode(), err)
	}
	for _, open := range []string{path, to} {
		x, err := Examine(context.Background(), open)
		if err != nil || len(x.Problems) > 0 || x.Bytes == 0 {
			t.Errorf("examined: %+v, %v", x, err)
		}
		for _, table := range x.Tables {
			if table.Table == "letters" && table.Rows != int64(swept.letters) {
				t.Errorf("got %+v", table)
			}
		}
	}
	if err := BucketOf[string](s, "things").Put("key1", "another"); err != nil {
		t.Errorf("after the backup: %v", err)
	}
	copied := openStore(t, to)
	if lost := swept.missing(t, copied, ""); lost != (sample{}) {
		t.Errorf("the backup lacks %+v", lost)
	}
	// The pages of a backup are others, so it must know them when it is damaged in turn.
	if err := copied.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	testOneDamage(t, "zeroed", 0, damages["zeroed"](text, 0))
}

func TestExamineWhatIsNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	if _, err := Examine(context.Background(), path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("no store ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if x, err := Examine(context.Background(), path); err != nil || len(x.Problems) != 1 {
		t.Errorf("got %+v, %v", x, err)
	}
	if err := Backup(context.Background(), path, path+".backup"); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if len(left) != 1 || err != nil {
		t.Errorf("there are %v, %v", left, err)
	}
}
