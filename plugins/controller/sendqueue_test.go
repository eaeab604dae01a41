package controller

import "testing"

// Queues of slow clients share the budget; queues of fast clients need none of it.
func TestSendQueuesShareOneBudget(t *testing.T) {
	const size, all = 32 << 10, 1 << 20
	var common queueBudget
	common.left.Store(all)
	message := make([]byte, size)
	fill := func() (o *sendQueue, messages int) {
		o = newSendQueue(1024, 8<<20, &common)
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
	var common queueBudget
	o := newSendQueue(2, 1<<20, &common)
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
