package controller

import "testing"

// Those who lag behind have to share, and those who don't have not.
func TestOutboxesShareOneBudget(t *testing.T) {
	const size, all = 32 << 10, 1 << 20
	var common budget
	common.left.Store(all)
	message := make([]byte, size)
	fill := func() (o *outbox, messages int) {
		o = newOutbox(1024, 8<<20, &common)
		for o.offer(message) {
			messages++
		}
		return o, messages
	}
	first, most := fill()
	if want := (all + share) / size; most != want {
		t.Errorf("the first holds %d messages instead of %d", most, want)
	}
	if _, few := fill(); few != share/size {
		t.Errorf("another holds %d messages instead of its share of %d", few, share/size)
	}
	first.take(nil)
	if left := common.left.Load(); left != 0 {
		t.Errorf("%d bytes are free before what was taken has been sent", left)
	}
	first.offer(message)
	first.take(nil)
	if _, again := fill(); again != most {
		t.Errorf("later one holds %d messages instead of %d", again, most)
	}
	first.close()
}

// Nothing is drawn by what has ended, and a message of any size goes out in the
// end.
func TestOutboxGivesBack(t *testing.T) {
	var common budget
	o := newOutbox(2, 1<<20, &common)
	if !o.offer(make([]byte, 4<<20)) {
		t.Error("a message alone has no room")
	}
	if o.offer(nil) {
		t.Error("there is room behind a message that is too large")
	}
	o.close()
	if left := common.left.Load(); left != 0 {
		t.Errorf("%d bytes are missing", -left)
	}
}
