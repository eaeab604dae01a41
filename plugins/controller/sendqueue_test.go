package controller

import (
	"testing"
	"testing/synctest"

	"dormouse/plugins/access"
	"dormouse/plugins/peer"
)

// newShare returns the share of a client that may have that many bytes, besides the free ones.
func newShare(bytes int64) *peer.Share {
	return peer.NewMemory(8*bytes, bytes).Join(access.Client{Loopback: true, User: &access.User{UID: strangerUID}})
}

// A queue holds what fits its client's share, and what was sent takes no memory any more.
func TestSendQueueTakesOfTheShare(t *testing.T) {
	share := newShare(1 << 20)
	q := newSendQueue(1024, 8<<20, share)
	fill := func() (messages int) {
		for !q.addEventUnlessFull(make([]byte, 32<<10)) {
			messages++
		}
		return messages
	}
	most := fill()
	if most < 32 || most > 34 {
		t.Errorf("the queue holds %d messages of 32 KiB in a share of 1 MiB and what is free", most)
	}
	taken := q.waitAndTakeAll(nil)
	if share.Fits(64 << 10) {
		t.Error("what was taken counts no more before it is sent")
	}
	q.addEventUnlessFull(nil)
	q.waitAndTakeAll(taken)
	if !share.Fits(1<<20) || taken[0] != nil {
		t.Error("what was sent takes memory")
	}
	q.closeAndDropAll()
}

// Nothing is taken for what has ended, and a message of any size goes out in the end.
func TestSendQueueGivesBack(t *testing.T) {
	share := newShare(1 << 20)
	q := newSendQueue(2, 1<<20, share)
	if q.addEventUnlessFull(make([]byte, 4<<20)) {
		t.Error("a message alone has no room")
	}
	if !q.addEventUnlessFull([]byte{1}) {
		t.Error("there is room behind a message that is too large")
	}
	q.closeAndDropAll()
	if !share.Fits(1 << 20) {
		t.Error("bytes are missing")
	}
}

// An answer waits for room in the queue, not for memory: that is taken already.
func TestSendQueueAnswerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newSendQueue(1, 1<<20, newShare(0))
		q.waitAndPutAnswer(make([]byte, 10))
		put := false
		go func() { put = q.waitAndPutAnswer(make([]byte, 10)) }()
		synctest.Wait()
		if put {
			t.Error("the answer did not wait for the one before")
		}
		q.waitAndTakeAll(nil)
		synctest.Wait()
		if !put {
			t.Error("the answer still waits")
		}
		q.closeAndDropAll()
	})
}
