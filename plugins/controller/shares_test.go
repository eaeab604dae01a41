package controller

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"dormouse/plugins/access"
)

// A peer that has used up its share of calls waits for its own calls, and others do not.
func TestSharesOfCalls(t *testing.T) {
	limits := limits{allCallBytes: 1000}
	s := newShares(limits)
	stranger := func(uid int) access.Client {
		return access.Client{Loopback: true, User: &access.User{UID: strangerUID + uid}}
	}
	root := access.Client{User: &access.User{}}
	one, other, privileged := s.join(stranger(0), limits), s.join(stranger(1), limits), s.join(root, limits)
	if again := s.join(stranger(0), limits); again != one {
		t.Error("another websocket of a peer has another share")
	}
	for _, share := range []*share{one, other, privileged} {
		if !share.calls.takeIfLeft(500) {
			t.Error("a peer has no share, though it has no calls")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	taken := make(chan error)
	go func() { taken <- s.waitAndTake(ctx, one.calls, 100) }()
	eventually(t, func() bool { return s.waiting.Load() == 1 })
	s.giveBack(privileged.calls, 500)
	s.giveBack(one.calls, 50)
	s.giveBack(one.calls, 50)
	if err := <-taken; err != nil {
		t.Error(err)
	}
	go func() { taken <- s.waitAndTake(ctx, one.calls, 100) }()
	eventually(t, func() bool { return s.waiting.Load() == 1 })
	cancel()
	if err := <-taken; !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
	s.giveBack(one.calls, 500)
	s.giveBack(other.calls, 500)
	for _, client := range []access.Client{stranger(0), stranger(0), stranger(1), root} {
		s.leave(client)
	}
	if len(s.byPeer) > 0 || s.calls.left.Load() != 1000 {
		t.Errorf("%v is left, and %d bytes of 1000", s.byPeer, s.calls.left.Load())
	}
}

// Calls beyond the share of a peer wait, on all its websockets, and are served in the end.
func TestCallsBeyondTheShareWait(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.allCallBytes = 2 * 4 * bytesOfCall }}) // three calls with their messages
	first, second := h.dial(t, "/jsonrpc"), h.dial(t, "/jsonrpc")
	for range 3 {
		first.send(call("Plain.1.wait", ""))
		<-h.plugins["Plain"].entered
	}
	second.send(call("Plain.1.echo", "7"))
	eventually(t, func() bool { return h.shares().waiting.Load() == 1 })
	close(h.plugins["Plain"].release)
	second.expect(`{"jsonrpc":"2.0","id":1,"result":7}`)
	for range 3 {
		first.expect(`{"jsonrpc":"2.0","id":1,"result":"waited"}`)
	}
}

// A request with a body beyond the share of its peer waits for as long as it may take to send
// the body, and is refused then.
func TestBodiesBeyondTheShare(t *testing.T) {
	for _, test := range []struct {
		name     string
		bodyTime time.Duration
		status   int
	}{
		{"served late", patience, http.StatusOK},
		{"refused", 200 * time.Millisecond, http.StatusServiceUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, setup{limits: func(l *limits) { l.allCallBytes, l.bodyTime = 2*4*bytesOfCall, test.bodyTime }}) // three calls with their messages
			var all sync.WaitGroup
			defer all.Wait()
			post := func(method, params string, want int) {
				if status, answer := h.post(t, "/jsonrpc", call(method, params)); status != want {
					t.Errorf("%s: %d %s", method, status, answer)
				}
			}
			for range 3 {
				all.Go(func() { post("Plain.1.wait", "", http.StatusOK) })
				<-h.plugins["Plain"].entered
			}
			if test.status != http.StatusOK {
				post("Plain.1.echo", "7", test.status)
			} else {
				all.Go(func() { post("Plain.1.echo", "7", test.status) })
				eventually(t, func() bool { return h.shares().waiting.Load() == 1 })
			}
			close(h.plugins["Plain"].release)
			all.Wait()
			eventually(t, func() bool {
				s := h.shares()
				s.mu.Lock()
				defer s.mu.Unlock()
				return len(s.byPeer) == 0
			})
		})
	}
}

// A batch waits while its peer has too many requests in batches under way.
func TestBatchesBeyondTheShareWait(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.allBatchRequests = 2 * 3 }})
	first, second := h.dial(t, "/jsonrpc"), h.dial(t, "/jsonrpc")
	first.send("[" + call("Plain.1.wait", "") + "," + call("Plain.1.echo", "7") + "]")
	<-h.plugins["Plain"].entered
	second.send("[" + call("Plain.1.echo", "8") + "," + call("Plain.1.echo", "9") + "]")
	eventually(t, func() bool { return h.shares().waiting.Load() == 1 })
	second.send(call("Plain.1.echo", "10"))
	second.expect(`{"jsonrpc":"2.0","id":1,"result":10}`)
	close(h.plugins["Plain"].release)
	first.expect(`[{"jsonrpc":"2.0","id":1,"result":"waited"},{"jsonrpc":"2.0","id":1,"result":7}]`)
	second.expect(`[{"jsonrpc":"2.0","id":1,"result":8},{"jsonrpc":"2.0","id":1,"result":9}]`)
	if status, answer := h.post(t, "/jsonrpc", "["+call("Plain.1.echo", "1")+"]"); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
}
