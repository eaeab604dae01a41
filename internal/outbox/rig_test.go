package outbox

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/internal/store"
)

// rig is an outbox with a fake network, in a bubble of fake time.
type rig struct {
	*Outbox
	t     *testing.T
	store *store.Store
	path  string
	stop  func()
	off   time.Duration // how much the host's clock is off

	mu       sync.Mutex
	begun    time.Time
	requests []request
	answer   func(request) (*http.Response, error)
}

// request is what a target has got.
type request struct {
	at     time.Duration // since the rig began
	url    string
	header http.Header
	body   string
	ctx    context.Context
}

// inBubble runs the test in fake time, with a rig whose targets answer 204.
func inBubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, path: path, begun: time.Now()}
		r.open()
		defer func() { r.close() }()
		test(r)
	})
}

// open opens the outbox and runs it.
func (r *rig) open() {
	s, err := store.Open(r.path, store.Options{CheckAfter: 1000 * time.Hour})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store = s
	if r.Outbox, err = Open(s, Options{transport: r}); err != nil {
		r.t.Fatal(err)
	}
	off := r.off
	r.now = func() time.Time { return time.Now().Add(off) }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-ended
	}
}

// close ends the run and closes the store.
func (r *rig) close() {
	r.stop()
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
}

// reopen is a new life of the host.
func (r *rig) reopen() {
	r.close()
	r.open()
}

// RoundTrip answers a request, as a transport.
func (r *rig) RoundTrip(q *http.Request) (*http.Response, error) {
	got := request{at: time.Since(r.begun), url: q.URL.String(), header: q.Header, ctx: q.Context()}
	if q.Body != nil {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return nil, err
		}
		got.body = string(body)
	}
	r.mu.Lock()
	r.requests = append(r.requests, got)
	answer := r.answer
	r.mu.Unlock()
	if answer == nil {
		return status(http.StatusNoContent), nil
	}
	return answer(got)
}

// answers has all requests answered so from now on.
func (r *rig) answers(answer func(request) (*http.Response, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// status returns a response with that status, and a header given in pairs.
func status(code int, header ...string) *http.Response {
	response := &http.Response{StatusCode: code, Header: make(http.Header), Body: http.NoBody}
	for pair := range slices.Chunk(header, 2) {
		response.Header.Set(pair[0], pair[1])
	}
	return response
}

// hang answers when the request is given up.
func hang(q request) (*http.Response, error) {
	<-q.ctx.Done()
	return nil, q.ctx.Err()
}

// put puts deliveries in, in one transaction.
func (r *rig) put(all ...Delivery) {
	r.t.Helper()
	err := r.store.Update(r.t.Context(), func(tx *store.Tx) error {
		for _, d := range all {
			if err := r.PutIn(tx, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Wake()
}

// to returns a delivery to http://HOST/ITS-ID.
func to(line, host, id string) Delivery {
	return Delivery{Line: line, ID: id, Event: "status", URL: "http://" + host + "/" + id}
}

// after waits that long, and until nothing goes on by itself.
func (r *rig) after(wait time.Duration) {
	<-time.After(wait)
	synctest.Wait()
}

// got returns the ids of the requests so far, and forgets them.
func (r *rig) got() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for _, q := range r.requests {
		ids = append(ids, q.url[strings.LastIndexByte(q.url, '/')+1:])
	}
	r.requests = nil
	return strings.Join(ids, " ")
}

// times returns when requests came, and forgets them.
func (r *rig) times() (all []time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.requests {
		all = append(all, q.at)
	}
	r.requests = nil
	return all
}

// expect compares the ids of the requests so far with those expected.
func (r *rig) expect(want string) {
	r.t.Helper()
	synctest.Wait()
	if got := r.got(); got != want {
		r.t.Errorf("got %q, want %q", got, want)
	}
}

// expectInAnyOrder is expect for requests that come at the same time.
func (r *rig) expectInAnyOrder(want string) {
	r.t.Helper()
	synctest.Wait()
	got := strings.Fields(r.got())
	slices.Sort(got)
	if got := strings.Join(got, " "); got != want {
		r.t.Errorf("got %q, want %q", got, want)
	}
}

// waiting returns how many deliveries are to be made.
func (r *rig) waiting() int64 {
	r.t.Helper()
	s, err := r.Stats(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Waiting
}

// numbered returns n deliveries with numbers as ids, each in a line of its own.
func numbered(n int, host func(i int) string) (all []Delivery) {
	for i := range n {
		all = append(all, to(fmt.Sprint("line", i), host(i), fmt.Sprint(i)))
	}
	return all
}
