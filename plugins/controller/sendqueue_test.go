package controller

import (
	"testing"
	"testing/synctest"
)

// Queues of slow clients share the budget; queues of fast clients need none of it.
func TestSendQueuesShareOneBudget(t *testing.T) {
	const size, all = 32 << 10, 1 << 20
	common := newBudget(all, nil)
	message := make([]byte, size)
	fill := func() (o *sendQueue, messages int) {
		o = newSendQueue(1024, 8<<20, common)
		for !o.addEventUnlessFull(message) {
			messages++
		}
		return o, messages
	}
	first, most := fill()
	if want := (all + freeBytes) / size; most != want {
		t.Errorf("the first holds %d messages instead of %d", most, want)
	}
	if _, few := fill(); few != freeBytes/size {
		t.Errorf("another holds %d messages instead of its share of %d", few, freeBytes/size)
	}
	first.waitAndTakeAll(nil)
	if left := common.left.Load(); left != 0 {
		t.Errorf("%d bytes are free before what was taken has been sent", left)
	}
	first.addEventUnlessFull(message)
	first.waitAndTakeAll(nil)
	if _, again := fill(); again != most {
		t.Errorf("later one holds %d messages instead of %d", again, most)
	}
	first.closeAndDropAll()
}

// Nothing is drawn by what has ended, and a message of any size goes out in the
// end.
func TestSendQueueGivesBack(t *testing.T) {
	common := newBudget(0, nil)
	o := newSendQueue(2, 1<<20, common)
	if o.addEventUnlessFull(make([]byte, 4<<20)) {
		t.Error("a message alone has no room")
	}
	if !o.addEventUnlessFull(nil) {
		t.Error("there is room behind a message that is too large")
	}
	o.closeAndDropAll()
	if left := common.left.Load(); left != 0 {
		t.Errorf("%d bytes are missing", -left)
	}
}

// A queue takes no more than its share, though all together would have room.
func TestSendQueueTakesItsShare(t *testing.T) {
	all := newBudget(1<<20, nil)
	share := newBudget(256<<10, all)
	o := newSendQueue(1024, 8<<20, share)
	n := 0
	for !o.addEventUnlessFull(make([]byte, 32<<10)) {
		n++
	}
	if want := (256<<10 + freeBytes) / (32 << 10); n != want || all.left.Load() != 768<<10 {
		t.Errorf("the queue holds %d messages instead of %d; %d bytes are left", n, want, all.left.Load())
	}
	o.closeAndDropAll()
	if all.left.Load() != 1<<20 || share.left.Load() != 256<<10 {
		t.Error("memory is missing")
	}
}

// What was sent takes no memory, also while nothing else is to be sent; only then is it sent.
func TestSendQueueForgetsWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		common := newBudget(1<<20, nil)
		o := newSendQueue(1024, 8<<20, common)
		o.addEventUnlessFull(make([]byte, 512<<10))
		sent := false
		go func() {
			o.waitUntilSent()
			sent = true
		}()
		taken := o.waitAndTakeAll(nil)
		synctest.Wait()
		if sent || common.left.Load() == 1<<20 {
			t.Error("it counts as sent when it is taken")
		}
		go o.waitAndTakeAll(taken)
		synctest.Wait()
		if !sent || common.left.Load() != 1<<20 || taken[0] != nil {
			t.Errorf("sent: %v, %d bytes are left, %d are kept", sent, common.left.Load(), len(taken[0]))
		}
		o.closeAndDropAll()
	})
}
