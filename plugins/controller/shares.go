package controller

import (
	"context"
	"sync"
	"sync/atomic"

	"dormouse/plugins/access"
	"dormouse/plugins/peer"
)

// shares bounds the memory that all websockets and requests with a body use together, and
// those of each peer.
type shares struct {
	queues, calls, batches *budget // what peers without privileges use together

	mu      sync.Mutex
	freed   sync.Cond // calls have ended while others wait
	waiting atomic.Int64
	byPeer  map[string]*share // of peers that have a websocket or send a body
}

// share is what one peer may use: queues for messages to its clients, calls for calls under
// way, both in bytes, and batches for the requests of batches under way, as a number. root and
// the host's own user do not use up what others have.
type share struct {
	queues, calls, batches *budget
	users                  int // guarded by shares.mu
}

// bytesOfCall is the memory of a call under way besides that of its message.
const bytesOfCall = 16 << 10

// newShares returns shares without users, of as much memory as the limits say.
func newShares(l limits) *shares {
	s := &shares{queues: newBudget(l.allQueueBytes, nil), calls: newBudget(l.allCallBytes, nil), batches: newBudget(l.allBatchRequests, nil), byPeer: make(map[string]*share)}
	s.freed.L = &s.mu
	return s
}

// join returns the share of the client's peer: half of all. The caller must call leave.
func (s *shares) join(client access.Client, l limits) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := peer.NameOf(client)
	one := s.byPeer[name]
	if one == nil {
		queues, calls, batches := s.queues, s.calls, s.batches
		if client.IsPrivileged() {
			queues, calls, batches = nil, nil, nil
		}
		one = &share{
			queues: newBudget(l.allQueueBytes/2, queues), calls: newBudget(l.allCallBytes/2, calls),
			batches: newBudget(l.allBatchRequests/2, batches),
		}
		s.byPeer[name] = one
	}
	one.users++
	return one
}

// leave ends the use of a share that join returned.
func (s *shares) leave(client access.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := peer.NameOf(client)
	if s.byPeer[name].users--; s.byPeer[name].users == 0 {
		delete(s.byPeer, name)
	}
}

// waitAndTake waits until a share's budget of calls or of batches has room for so much, and
// takes it. It returns an error if ctx ends first.
func (s *shares) waitAndTake(ctx context.Context, from *budget, amount int) error {
	defer context.AfterFunc(ctx, s.wakeWaiting)()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	for ctx.Err() == nil {
		if from.takeIfLeft(amount) {
			return nil
		}
		s.freed.Wait()
	}
	return ctx.Err()
}

// giveBack gives back what was taken from a share's budget of calls or of batches.
func (s *shares) giveBack(to *budget, amount int) {
	to.take(-amount)
	if s.waiting.Load() > 0 {
		s.wakeWaiting()
	}
}

// wakeWaiting lets each waitAndTake look for room again.
func (s *shares) wakeWaiting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freed.Broadcast()
}
