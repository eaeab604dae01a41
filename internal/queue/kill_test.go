package queue

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"dormouse/internal/leaktest"
	"dormouse/internal/store"
)

// workerEnv is the variable that makes the test binary a process that works on the queues in
// the file that the variable names.
const workerEnv = "QUEUE_TEST_WORKER"

func TestMain(m *testing.M) {
	if path := os.Getenv(workerEnv); path != "" {
		fmt.Fprintln(os.Stderr, work(path, os.Getenv(workerEnv+"_LIFE")))
		os.Exit(1)
	}
	os.Exit(leaktest.Run(m))
}

// work publishes messages named after this life of the process into "in", passes each on to
// "out" in one transaction, and prints each one that was accepted.
func work(path, life string) error {
	s, err := store.Open(path, store.Options{})
	if err != nil {
		return err
	}
	q, err := Open(s, Options{})
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(context.Background())
	defer fail(nil)
	var all sync.WaitGroup
	for producer := range 3 {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("%s-%d-%d", life, producer, n)
				if _, err := q.Publish(ctx, Message{ID: id, Body: []byte(id)}, "in"); err != nil {
					fail(err)
					return
				}
				_, _ = fmt.Fprintln(os.Stdout, id)
			}
		})
	}
	for ctx.Err() == nil {
		one, err := q.Take(ctx, "in")
		if err == nil {
			err = one.Finish(ctx, Outgoing{To: "out", Message: Message{ID: one.ID, Body: one.Body}})
		}
		if err != nil {
			fail(err)
		}
	}
	all.Wait()
	return context.Cause(ctx)
}

// After each kill all messages that were accepted are there, once, in the order of their
// producer; so are the counters.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ledger := make(map[string]bool)
	for life := range 5 {
		for _, id := range acceptedUntilKilled(t, path, life, random.IntN(120)) {
			ledger[id] = true
		}
		verifyLedger(t, path, ledger)
	}
	if len(ledger) == 0 {
		t.Error("no message was ever accepted")
	}
}

// acceptedUntilKilled returns the ids that a worker has printed until it was killed, a moment
// after that many.
func acceptedUntilKilled(t *testing.T, path string, life, after int) (ids []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+path, fmt.Sprintf("%s_LIFE=%d", workerEnv, life))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		ids = append(ids, lines.Text())
		if len(ids) == after+1 {
			_ = cmd.Process.Kill() // lines printed before can still be read
		}
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the worker ended with %v", err)
	}
	return ids
}

// verifyLedger compares what is in the queues with what was accepted.
func verifyLedger(t *testing.T, path string, ledger map[string]bool) {
	t.Helper()
	s, q := openAt(t, path, Options{})
	defer func() { _ = s.Close() }()
	if err := verifyCounters(t.Context(), q); err != nil {
		t.Error(err)
	}
	copies := make(map[string]int)
	last := make(map[string]int)                 // number of the last message of each producer
	for _, name := range []string{"out", "in"} { // what was passed on is older
		var taken []*Taken
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := q.SetRules(ctx, name, Rules{Parallel: 1 << 20}); err != nil {
			t.Fatal(err)
		}
		for {
			one, err := tryTake(ctx, q, name)
			if err != nil {
				t.Fatal(err)
			}
			if one == nil {
				break
			}
			taken = append(taken, one)
			copies[one.ID]++
			var life, producer, n int
			if _, err := fmt.Sscanf(one.ID, "%d-%d-%d", &life, &producer, &n); err != nil {
				t.Fatal(err)
			}
			of := fmt.Sprint(life, "-", producer)
			if before, found := last[of]; found && n != before+1 || !found && n != 0 {
				t.Errorf("%s comes after %d", one.ID, before)
			}
			last[of] = n
		}
		if s, err := q.Stats(ctx, name); s.Messages != int64(len(taken)) || err != nil {
			t.Errorf("%s has %d messages, %d were taken, %v", name, s.Messages, len(taken), err)
		}
		cancel()
	}
	for id := range ledger {
		if copies[id] == 0 {
			t.Errorf("%s is lost", id)
		}
	}
	for id, n := range copies {
		if n > 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
}
