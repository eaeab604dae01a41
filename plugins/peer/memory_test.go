package peer

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/plugins/access"
)

// fill takes pieces until no more fit, and returns how many bytes it took.
func fill(s *Share) (taken int) {
	const piece = 16 << 10
	for s.Take(piece) == nil {
		taken += piece
	}
	return taken
}

// A client has its part, further ones of its peer and other peers less and less, and always
// something. What is given back can be taken again.
func TestMemoryLeavesSomethingForTheNext(t *testing.T) {
	const mib = 1 << 20
	m := NewMemory(128*mib, 32*mib)
	for i, want := range []int{32, 16, 8, 4} {
		if got := fill(m.Join(user(54321))); got < want*mib || got > want*mib+2*freeBytes {
			t.Errorf("client %d of the peer took %d KiB, want %d MiB", i, got>>10, want)
		}
	}
	other := m.Join(user(54322))
	took := fill(other)
	if took < 10*mib || took > 20*mib {
		t.Errorf("another peer took %d KiB", took>>10)
	}
	root := m.Join(user(0))
	if got := fill(root); got < 20*mib {
		t.Errorf("root took %d KiB", got>>10)
	}
	other.GiveBack(took)
	if again := fill(other); again < took-2*freeBytes {
		t.Errorf("it took %d KiB at first and %d later", took>>10, again>>10)
	}
}

// What a client has left behind counts until it is given back, and its peer has nothing free
// while it has more than it may.
func TestMemoryOfClientsThatLeft(t *testing.T) {
	m := NewMemory(1<<20, 256<<10)
	first := m.Join(user(54321))
	if err := first.Take(freeBytes); err != nil {
		t.Fatal(err)
	}
	if m.all.taken != 0 {
		t.Errorf("%d free bytes are counted", m.all.taken)
	}
	first.TakeAnyway(2 << 20)
	first.Leave()
	if m.all.taken != 2<<20+freeBytes {
		t.Errorf("%d bytes are counted", m.all.taken)
	}
	second := m.Join(user(54321))
	if err := second.Take(1); !errors.Is(err, ErrNoMemory) {
		t.Errorf("beside too much of its peer's: %v", err)
	}
	first.GiveBack(2<<20 + freeBytes)
	if err := second.Take(1); err != nil {
		t.Error(err)
	}
	second.GiveBack(1)
	second.Leave()
	if len(m.byPeer) != 0 || m.all.taken != 0 || m.others.taken != 0 {
		t.Errorf("%d peers and %d bytes are left", len(m.byPeer), m.all.taken)
	}
}

// Clients that send as much as fits and hang up do not shut out a client of the same peer that
// sends little.
func TestMemoryBesideClientsThatLeft(t *testing.T) {
	const long, short = 500 << 10, 1 << 10
	m := NewMemory(128<<20, 32<<20)
	var senders []*Share
	for range 300 {
		if s := m.Join(user(0)); s.Take(long) == nil {
			senders = append(senders, s)
		}
	}
	if len(senders) == 300 {
		t.Fatal("all fitted")
	}
	for _, s := range senders {
		s.Leave()
	}
	if err := m.Join(user(0)).Take(short); err != nil {
		t.Errorf("after %d that hung up: %v", len(senders), err)
	}
}

// A while after much was used the kernel gets back what is unused, and again while much is
// in use; then nothing is planned any more.
func TestMemoryIsTidied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(128<<20, 32<<20)
		var tidied atomic.Int32
		m.clean = func() { tidied.Add(1) }
		s := m.Join(access.Client{})
		s.TakeAnyway(tidyFrom / 2)
		pass(time.Minute)
		if n := tidied.Load(); n != 0 {
			t.Errorf("tidied %d times after little was used", n)
		}
		s.TakeAnyway(tidyFrom)
		pass(tidyAfter + time.Second)
		s.GiveBack(tidyFrom)
		pass(time.Hour)
		if n := tidied.Load(); n != 3 {
			t.Errorf("tidied %d times, want twice while much was in use, and once after", n)
		}
	})
}

// Messages that arrived, and that no share took, leave as little behind.
func TestMemoryOfArrivingIsTidied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(128<<20, 32<<20)
		var tidied atomic.Int32
		m.clean = func() { tidied.Add(1) }
		m.NoteArriving(tidyFrom - 1)
		pass(time.Hour)
		if n := tidied.Load(); n != 0 {
			t.Errorf("tidied %d times after little arrived", n)
		}
		m.NoteArriving(tidyFrom)
		pass(time.Hour)
		if n := tidied.Load(); n != 2 {
			t.Errorf("tidied %d times, want once, and once more for what was on its way then", n)
		}
	})
}

// Nothing bounds a share that is not there.
func TestNoMemory(t *testing.T) {
	var m *Memory
	s := m.Join(access.Client{})
	if err := s.Take(1 << 40); err != nil || !s.Fits(1<<40) {
		t.Error(err)
	}
	s.GiveBack(1 << 40)
	s.Leave()
}
