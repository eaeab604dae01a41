package peer

import (
	"errors"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"dormouse/plugins/access"
)

// ErrNoMemory means that so many bytes are on their way for the client, its peer or all
// clients that no more fit. Later they may.
var ErrNoMemory = errors.New("too many bytes are on their way for this client at the same time")

// Memory bounds the bytes of messages that are on their way through the host: requests, calls
// that wait or run, answers and events that were not taken. Each client has a Share. A share
// grows by no more than half of what its peer may still take, and a peer's bytes by no more
// than half of what is left of all, so that something is always left for the next one.
type Memory struct {
	mu     sync.Mutex
	all    account // of every client
	others account // of clients that are not privileged
	byPeer map[string]*peerAccount
	client int64 // the most that one client may have

	peak  int64 // most bytes that were taken since the last tidy
	tidy  *time.Timer
	clean func() // gives unused memory back to the kernel
}

// account is an amount of bytes that is taken out of its parent too. Memory.mu guards it.
type account struct {
	parent *account
	limit  int64
	taken  int64
	shares bool // it takes no more than half of what its parent has left
}

// peerAccount is the account of one peer, with the number of shares in it.
type peerAccount struct {
	account
	users int
}

// freeBytes is what each client may have beyond the limits, so that one with small messages
// does not notice how much others have. Those of clients that left count, and may lead a peer
// beyond its room; a peer that is beyond it by more than half of one client's part has none.
const freeBytes = 64 << 10

// Times of giving memory back to the kernel: tidyAfter the use of at least tidyFrom bytes.
const (
	tidyAfter = 10 * time.Second
	tidyFrom  = 4 << 20
)

// NewMemory returns memory for that many bytes in all, and for one client. Root and the
// host's own user may have one client's part more than all.
func NewMemory(all, client int64) *Memory {
	m := &Memory{byPeer: make(map[string]*peerAccount), client: client, clean: freeUnused}
	m.all.limit = all + client
	m.others = account{parent: &m.all, limit: all}
	return m
}

// Share is what one client has of the memory. A nil *Share has no limits.
type Share struct {
	memory  *Memory
	name    string
	account account // its taken bytes do not include the free ones
	used    int64   // all bytes that were taken and not given back
	left    bool
}

// Join returns the share of a new client, a connection for example. The caller must call
// Leave. A nil Memory has no shares.
func (m *Memory) Join(client access.Client) *Share {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name := NameOf(client)
	p := m.byPeer[name]
	if p == nil {
		p = &peerAccount{account: account{parent: &m.others, limit: m.others.limit, shares: true}}
		if client.IsPrivileged() {
			p.parent, p.limit = &m.all, m.all.limit
		}
		m.byPeer[name] = p
	}
	p.users++
	return &Share{memory: m, name: name, account: account{parent: &p.account, limit: m.client, shares: true}}
}

// Leave ends the share once all that was taken is given back. Until then all of it counts.
func (s *Share) Leave() {
	if s == nil {
		return
	}
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.left = true
	s.settle()
}

// Take takes that many bytes for the client until GiveBack. It returns ErrNoMemory, and takes
// nothing, if they don't fit.
func (s *Share) Take(bytes int) error {
	if s == nil || bytes == 0 {
		return nil
	}
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if !s.fits(int64(bytes)) {
		return ErrNoMemory
	}
	s.used += int64(bytes)
	s.settle()
	return nil
}

// Fits reports whether Take would take that many bytes.
func (s *Share) Fits(bytes int) bool {
	if s == nil {
		return true
	}
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return s.fits(int64(bytes))
}

// TakeAnyway takes that many bytes whether they fit or not, because the host has them already.
func (s *Share) TakeAnyway(bytes int) {
	if s == nil {
		return
	}
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.used += int64(bytes)
	s.settle()
}

// GiveBack gives back bytes that were taken.
func (s *Share) GiveBack(bytes int) { s.TakeAnyway(-bytes) }

// fits reports whether so many bytes more fit. The caller holds mu.
func (s *Share) fits(bytes int64) bool {
	more := max(s.used+bytes-freeBytes, 0) - s.account.taken
	if more <= 0 {
		return s.account.parent.room() >= -s.memory.client/2
	}
	return more <= s.account.room()
}

// settle makes the account say what the share uses beyond the free bytes, or all of it once
// the client has left. The caller holds mu.
func (s *Share) settle() {
	want := max(s.used-freeBytes, 0)
	if s.left {
		want = s.used
	}
	s.account.take(want - s.account.taken)
	if s.left && s.used == 0 && s.memory != nil {
		s.memory.removeUser(s.name)
		s.left = false // once only
	}
	s.memory.planTidying()
}

// removeUser removes a share that has ended from its peer. The caller holds mu.
func (m *Memory) removeUser(name string) {
	p := m.byPeer[name]
	if p.users--; p.users == 0 {
		delete(m.byPeer, name)
	}
}

// room returns how many bytes more the account may take, fewer than 0 if it has too many.
func (a *account) room() int64 {
	room := a.limit - a.taken
	if a.parent == nil {
		return room
	}
	above := a.parent.room()
	if a.shares {
		above = (above - a.taken) / 2
	}
	return min(room, above)
}

// take takes bytes, or gives back fewer than 0.
func (a *account) take(bytes int64) {
	for ; a != nil; a = a.parent {
		a.taken += bytes
	}
}

// NoteArriving notes that so many bytes of messages arrive, which no share has taken yet. They
// have no limit here, but their memory is given back to the kernel too.
func (m *Memory) NoteArriving(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peak = max(m.peak, m.all.taken+bytes)
	m.planTidying()
}

// planTidying lets unused memory be given back to the kernel a while after much was used: Go
// itself does so within minutes only. The caller holds mu.
func (m *Memory) planTidying() {
	m.peak = max(m.peak, m.all.taken)
	if m.peak >= tidyFrom && m.tidy == nil {
		m.tidy = time.AfterFunc(tidyAfter, m.giveUnusedToKernel)
	}
}

// freeUnused gives unused memory back to the kernel, also that of pools, which a single
// collection keeps.
func freeUnused() {
	runtime.GC()
	debug.FreeOSMemory()
}

// giveUnusedToKernel gives unused memory back to the kernel, and plans to do so again if much
// was in use since the last time: what was on its way then may be unused only now.
func (m *Memory) giveUnusedToKernel() {
	m.clean()
	m.mu.Lock()
	defer m.mu.Unlock()
	again := m.peak >= tidyFrom
	m.tidy, m.peak = nil, m.all.taken
	if again {
		m.tidy = time.AfterFunc(tidyAfter, m.giveUnusedToKernel)
	}
}
