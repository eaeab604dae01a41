package outbox

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dormouse/internal/leaktest"
	"dormouse/internal/outbox/targets"
	"dormouse/internal/store"
)

// workerEnv is the variable that makes the test binary a process that puts deliveries into the
// outbox in the file that the variable names, and makes them.
const workerEnv = "OUTBOX_TEST_WORKER"

func TestMain(m *testing.M) {
	if path := os.Getenv(workerEnv); path != "" {
		fmt.Fprintln(os.Stderr, work(path, os.Getenv(workerEnv+"_TARGET")))
		os.Exit(1)
	}
	os.Exit(leaktest.Run(m))
}

// killedLines is how many lines a worker has.
const killedLines = 8

// work raises a number of each line and puts a delivery of it in, in one transaction, and prints
// each that is on disk.
func work(path, target string) error {
	s, err := store.Open(path, store.Options{})
	if err != nil {
		return err
	}
	rule, err := targets.ParseRule("127.0.0.1")
	if err != nil {
		return err
	}
	box, err := Open(s, Options{Targets: targets.New(targets.Options{Allow: []targets.Rule{rule}})})
	if err != nil {
		return err
	}
	go box.Run(context.Background())
	numbers := store.BucketOf[int](s, "numbers")
	failed := make(chan error)
	for n := range killedLines {
		line := fmt.Sprint(n)
		go func() {
			for {
				next, err := putNext(box, s, numbers, line, target)
				if err != nil {
					failed <- err
					return
				}
				_, _ = fmt.Fprintln(os.Stdout, line, next)
			}
		}()
	}
	return <-failed
}

// putNext raises the number of the line and puts the delivery of it in.
func putNext(box *Outbox, s *store.Store, numbers store.Bucket[int], line, target string) (next int, err error) {
	err = s.Update(context.Background(), func(tx *store.Tx) error {
		last, _, err := numbers.GetIn(tx, line)
		if err != nil {
			return err
		}
		next = last + 1
		if err := numbers.PutIn(tx, line, next); err != nil {
			return err
		}
		return box.PutIn(tx, Delivery{Line: line, Event: "status", URL: fmt.Sprintf("%s/%s/%d", target, line, next)})
	})
	box.Wake()
	return next, err
}

// ledger notes what its target gets, by line.
type ledger struct {
	mu      sync.Mutex
	got     map[string][]int
	refuses bool // now and then
}

// ServeHTTP notes a delivery, or fails.
func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line, text, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var n int
	if _, err := fmt.Sscan(text, &n); err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if l.refuses && rand.IntN(100) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	l.got[line] = append(l.got[line], n)
}

// verify fails the test unless each line has got 1, 2, 3 … to its last number at least, none left
// out, and none again but the one before.
func (l *ledger) verify(t *testing.T, acknowledged, stored map[string]int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line, all := range l.got {
		last := 0
		for _, n := range all {
			if n != last+1 && n != last {
				t.Fatalf("line %s has got %d after %d", line, n, last)
			}
			last = n
		}
		if last != stored[line] || last < acknowledged[line] {
			t.Errorf("line %s has got up to %d; on disk are %d, acknowledged were %d", line, last, stored[line], acknowledged[line])
		}
	}
	if len(l.got) != killedLines {
		t.Errorf("%d lines have got something", len(l.got))
	}
}

// However often the host is killed, each delivery that is on disk is made, in order, and no other;
// only the last of a line may come again.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := &ledger{got: make(map[string][]int), refuses: true}
	target := httptest.NewServer(l)
	defer target.Close()
	acknowledged := make(map[string]int)
	for range 6 {
		putUntilKilled(t, path, target.URL, random.IntN(400), acknowledged)
	}

	l.mu.Lock()
	l.refuses = false
	l.mu.Unlock()
	s, err := store.Open(path, store.Options{Told: func(message string) { t.Error(message) }})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := store.BucketOf[int](s, "numbers").All()
	if err != nil {
		t.Fatal(err)
	}
	runUntilEmpty(t, s)
	l.verify(t, acknowledged, stored)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// runUntilEmpty runs an outbox in the store until nothing waits.
func runUntilEmpty(t *testing.T, s *store.Store) {
	t.Helper()
	rule, err := targets.ParseRule("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	box, err := Open(s, Options{Targets: targets.New(targets.Options{Allow: []targets.Rule{rule}})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	var running sync.WaitGroup
	running.Go(func() { box.Run(ctx) })
	for waiting := int64(1); waiting > 0; {
		figures, err := box.Stats(ctx)
		if err != nil {
			t.Error(err)
			break
		}
		waiting = figures.Waiting
	}
	cancel()
	running.Wait()
}

// putUntilKilled has a worker put deliveries in, kills it after about that many, and notes the
// last of each line that it has acknowledged.
func putUntilKilled(t *testing.T, path, target string, after int, acknowledged map[string]int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+path, workerEnv+"_TARGET="+target)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for lines := bufio.NewScanner(out); lines.Scan(); count++ {
		var line string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &line, &n); err != nil {
			t.Fatal(err)
		}
		acknowledged[line] = n
		if count == after {
			_ = cmd.Process.Kill() // lines printed before can still be read
		}
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the worker ended with %v", err)
	}
}
