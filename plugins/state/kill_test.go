package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
)

// work changes keys and blobs of three owners at once, and prints each change that is done:
// what, owner, name and number. Each blob holds its own name and number, many times.
func work(root, life string) error {
	s, err := store.Open(filepath.Join(root, "store.db"), store.Options{})
	if err != nil {
		return err
	}
	st, err := New(Options{Store: s, Dir: filepath.Join(root, DirName), Log: zerolog.New(os.Stderr)})
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(context.Background())
	defer fail(nil)
	var all sync.WaitGroup
	for owner := range 3 {
		all.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				if err := workOnce(ctx, st, fmt.Sprint("owner", owner), life, n); err != nil {
					fail(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// workOnce changes one pair of keys as one, and puts or deletes one blob.
func workOnce(ctx context.Context, st *State, owner, life string, n int) error {
	number := fmt.Sprintf("%s-%d", life, n)
	value := []byte(`"` + number + `"`)
	_, _, err := st.Change(ctx, owner, Change{Key: "left", Value: value}, Change{Key: "right", Value: value})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(os.Stdout, "set", owner, "left", number)
	name := fmt.Sprint("blob", n%4)
	if n%3 == 0 {
		if _, _, err := st.DeleteBlob(ctx, owner, name, nil); err != nil {
			return err
		}
		_, _ = fmt.Fprintln(os.Stdout, "deleted", owner, name, number)
		return nil
	}
	u, err := st.NewUpload(ctx, owner, UploadStart{Name: name})
	if err != nil {
		return err
	}
	defer u.Discard()
	for range 5 {
		if _, err := u.Write([]byte(strings.Repeat(name+" "+number+"\n", 3000))); err != nil {
			return err
		}
	}
	if _, err := u.Finish(ctx); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(os.Stdout, "put", owner, name, number)
	return nil
}

// After each kill there is no half blob, no file without a blob and no blob without its file;
// changes that were made as one are all there or none is, and what was answered is there, unless
// a later change, which was not answered, has taken its place.
func TestKilled(t *testing.T) {
	root := t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	done := make(map[string]string) // "set" or "deleted" and the number, by owner and name
	for life := range 6 {
		for _, line := range linesUntilKilled(t, root, life, random.IntN(60)) {
			var what, owner, name, number string
			if _, err := fmt.Sscan(line, &what, &owner, &name, &number); err != nil {
				t.Fatal(err)
			}
			done[owner+" "+name] = what + " " + number
		}
		verifyAfterKill(t, root, done, life)
	}
	if len(done) == 0 {
		t.Error("nothing was ever done")
	}
}

// linesUntilKilled returns what a worker has printed until it was killed, a moment after that
// many lines.
func linesUntilKilled(t *testing.T, root string, life, after int) (lines []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+root, fmt.Sprintf("%s_LIFE=%d", workerEnv, life))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for printed := bufio.NewScanner(out); printed.Scan(); {
		lines = append(lines, printed.Text())
		if len(lines) == after+1 {
			_ = cmd.Process.Kill() // lines printed before can still be read
		}
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the worker ended with %v", err)
	}
	return lines
}

// verifyAfterKill compares what the next process finds with what was done.
func verifyAfterKill(t *testing.T, root string, done map[string]string, life int) {
	t.Helper()
	r := newRig(t, root, configs.State{})
	defer func() { must(t, r.store.Close()) }()
	r.verify()
	if told := r.told.String(); told != "" {
		t.Errorf("the next start says %s", told)
	}
	for at, last := range done {
		owner, name, _ := strings.Cut(at, " ")
		what, number, _ := strings.Cut(last, " ")
		if what == "set" {
			left, err := r.Get(t.Context(), owner, "left")
			must(t, err)
			right, err := r.Get(t.Context(), owner, "right")
			must(t, err)
			if string(left.Value) != string(right.Value) || left.Revision != right.Revision {
				t.Errorf("one of two changes was made: %+v, %+v", left, right)
			}
			checkNotBefore(t, at, strings.Trim(string(left.Value), `"`), number, life)
			continue
		}
		b, err := r.OpenBlob(t.Context(), owner, name)
		if errors.Is(err, ErrNotFound) {
			if what == "put" && lifeOf(number) < life {
				continue // a deletion of this life was not answered
			}
			checkMayBeGone(t, r, owner, at, what, number)
			continue
		}
		must(t, err)
		text, err := io.ReadAll(b)
		must(t, errors.Join(err, b.Close()))
		first, _, _ := strings.Cut(string(text), "\n")
		_, found, _ := strings.Cut(first, " ")
		if string(text) != strings.Repeat(first+"\n", 15000) {
			t.Errorf("the blob %s is not whole: it has %d bytes and begins with %q", at, len(text), first)
		}
		checkNotBefore(t, at, found, number, life)
	}
}

// checkMayBeGone fails the test if a blob is gone that was put, and no deletion of it can have
// followed: the owner's keys say how far it came.
func checkMayBeGone(t *testing.T, r *rig, owner, at, what, number string) {
	t.Helper()
	if what == "deleted" {
		return
	}
	left, err := r.Get(t.Context(), owner, "left")
	must(t, err)
	var life, n, lifeNow, now int
	if _, err := fmt.Sscanf(number, "%d-%d", &life, &n); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(left.Value), `"%d-%d"`, &lifeNow, &now); err != nil {
		t.Fatal(err)
	}
	if life == lifeNow && now <= n {
		t.Errorf("%s was put by %s, and is gone", at, number)
	}
}

// checkNotBefore fails the test if the number found is before the one that was answered.
func checkNotBefore(t *testing.T, at, found, answered string, life int) {
	t.Helper()
	var hasLife, has, wantLife, want int
	if _, err := fmt.Sscanf(found, "%d-%d", &hasLife, &has); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(answered, "%d-%d", &wantLife, &want); err != nil {
		t.Fatal(err)
	}
	if hasLife < wantLife || hasLife == wantLife && has < want || hasLife > life {
		t.Errorf("%s is of %s, and %s was answered", at, found, answered)
	}
}

// lifeOf returns the life in a number.
func lifeOf(number string) (life int) {
	_, _ = fmt.Sscanf(number, "%d-", &life)
	return life
}
