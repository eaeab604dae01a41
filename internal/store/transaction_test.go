package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const numbersTable = `CREATE TABLE numbers (n INTEGER PRIMARY KEY); CREATE INDEX of_numbers ON numbers (n);`

// numbers returns the rows of the table of numbers.
func numbers(t *testing.T, s *Store) (all []int) {
	t.Helper()
	err := s.View(context.Background(), func(tx *Tx) error {
		rows, err := tx.Query("SELECT n FROM numbers ORDER BY n")
		if err != nil {
			return err
		}
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil {
				return err
			}
			all = append(all, n)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func insert(n int) func(*Tx) error {
	return func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO numbers VALUES (?)", n)
		return err
	}
}

// What is to follow a change sees it on disk, and does not follow one that has failed.
func TestAfterCommit(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	if err := s.Define("numbers", numbersTable); err != nil {
		t.Fatal(err)
	}
	var seen []int
	err := s.Update(t.Context(), func(tx *Tx) error {
		tx.AfterCommit(func() { seen = numbers(t, s) })
		return insert(1)(tx)
	})
	if err != nil || len(seen) != 1 {
		t.Errorf("it has seen %v, error %v", seen, err)
	}
	boom := errors.New("boom")
	err = s.Update(t.Context(), func(tx *Tx) error {
		tx.AfterCommit(func() { t.Error("it follows a change that has failed") })
		return boom
	})
	if !errors.Is(err, boom) {
		t.Error(err)
	}
}

// Of changes that share a commit, an error or a panic undoes only its own.
func TestChangesFailAlone(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	if err := s.Define("numbers", numbersTable); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	hold, held := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { // those below wait for this one, and are one group
		if err := s.Update(context.Background(), func(*Tx) error { close(held); <-hold; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-held
	for n := range 30 {
		all.Go(func() {
			defer func() {
				if cause := recover(); (cause != nil) != (n%3 == 2) || cause != nil && !strings.Contains(fmt.Sprint(cause), "ouch") {
					t.Errorf("%d panicked with %v", n, cause)
				}
			}()
			err := s.Update(context.Background(), func(tx *Tx) error {
				if err := insert(n)(tx); err != nil {
					return err
				}
				switch n % 3 {
				case 1:
					return boom
				case 2:
					panic("ouch")
				}
				return nil
			})
			if n%3 == 0 && err != nil || n%3 == 1 && !errors.Is(err, boom) {
				t.Errorf("%d: %v", n, err)
			}
		})
	}
	close(hold)
	all.Wait()
	if got := numbers(t, s); fmt.Sprint(got) != "[0 3 6 9 12 15 18 21 24 27]" {
		t.Errorf("got %v", got)
	}
	if err := s.Update(context.Background(), insert(0)); err == nil || !strings.Contains(err.Error(), "UNIQUE") {
		t.Errorf("a row that is there: %v", err)
	}
}

// A change that waits when its context ends is not made.
func TestChangeIsWithdrawn(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	if err := s.Define("numbers", numbersTable); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	hold, held := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { _ = s.Update(ctx, func(tx *Tx) error { close(held); <-hold; return insert(1)(tx) }) })
	<-held
	all.Go(func() {
		if err := s.Update(ctx, insert(2)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		close(hold)
	})
	cancel()
	all.Wait()
	if got := numbers(t, s); fmt.Sprint(got) != "[1]" {
		t.Errorf("got %v", got)
	}
}

// A view sees the file as it was when the view began, and does not wait for a change.
func TestViewBesideChange(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	if err := s.Define("numbers", numbersTable); err != nil {
		t.Fatal(err)
	}
	count := func(tx *Tx) (n int) {
		if err := tx.QueryRow("SELECT count(*) FROM numbers").Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	err := s.View(context.Background(), func(tx *Tx) error {
		before := count(tx)
		if err := s.Update(context.Background(), insert(1)); err != nil {
			return err
		}
		if now := count(tx); before != 0 || now != 0 {
			t.Errorf("it saw %d and then %d", before, now)
		}
		_, err := tx.Exec("INSERT INTO numbers VALUES (2)")
		if err == nil {
			t.Error("a view could write")
		}
		return nil
	})
	if got := numbers(t, s); fmt.Sprint(got) != "[1]" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

// A statement can be run again while its rows are read; rows that are left open do no harm.
func TestStatementWithinItself(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	if err := s.Define("numbers", numbersTable); err != nil {
		t.Fatal(err)
	}
	const after = "SELECT n FROM numbers WHERE n > ? ORDER BY n"
	var seen []string
	err := s.Update(context.Background(), func(tx *Tx) error {
		for n := range 4 {
			if err := insert(n)(tx); err != nil {
				return err
			}
		}
		outer, err := tx.Query(after, 0)
		if err != nil {
			return err
		}
		for outer.Next() {
			var n, next int
			if err := outer.Scan(&n); err != nil {
				return err
			}
			if err := tx.QueryRow(after, n).Scan(&next); err != nil {
				break
			}
			seen = append(seen, fmt.Sprint(n, "<", next))
		}
		left, err := tx.Query(after, 1)
		if err != nil || !left.Next() {
			t.Errorf("no rows, %v", err)
		}
		return nil
	})
	if got := strings.Join(seen, " "); got != "1<2 2<3" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got := numbers(t, s); fmt.Sprint(got) != "[0 1 2 3]" {
		t.Errorf("got %v", got)
	}
}

// Each version of the tables is made once; a version that is not known is refused.
func TestVersionsOfTables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	versions := []string{numbersTable, "INSERT INTO numbers VALUES (7);", "ALTER TABLE numbers ADD COLUMN name TEXT; INSERT INTO numbers (n) VALUES (8);"}
	for _, known := range []int{1, 2, 2, 3, 3} {
		s := openStore(t, path)
		if err := s.Define("numbers", versions[:known]...); err != nil {
			t.Fatal(err)
		}
		if got := numbers(t, s); len(got) != known-1 {
			t.Errorf("with %d versions there are %v", known, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := openStore(t, path)
	if err := s.Define("numbers", versions[0]); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "numbers have version 3") {
		t.Errorf("got %v", err)
	}
	if err := s.Define("others", "CREATE TABLE others (n); SYNTAX"); err == nil || !strings.Contains(err.Error(), "cannot make version 1 of others") {
		t.Errorf("got %v", err)
	}
	if err := s.Define("others", "CREATE TABLE others (n);"); err != nil {
		t.Errorf("after one that failed: %v", err)
	}
}

// Everything that begins after Close, or waits, is refused.
func TestClosed(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	nothing := func(*Tx) error { return nil }
	if err := s.Update(context.Background(), nothing); !errors.Is(err, ErrClosed) {
		t.Errorf("Update: %v", err)
	}
	if err := s.View(context.Background(), nothing); !errors.Is(err, ErrClosed) {
		t.Errorf("View: %v", err)
	}
}

// When the whole transaction is lost in the middle, all changes that share it have failed, and
// the next ones work.
func TestLostTransaction(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	if err := s.Define("numbers", numbersTable); err != nil {
		t.Fatal(err)
	}
	err := s.Update(context.Background(), func(tx *Tx) error {
		if err := insert(1)(tx); err != nil {
			return err
		}
		return tx.connection.run("ROLLBACK")
	})
	if err == nil {
		t.Error("it was not told")
	}
	if err := s.Update(context.Background(), insert(2)); err != nil {
		t.Errorf("after it: %v", err)
	}
	if got := numbers(t, s); fmt.Sprint(got) != "[2]" {
		t.Errorf("got %v", got)
	}
}
