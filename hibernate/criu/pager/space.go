package pager

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/criu/images"
	"dormouse/internal/uffd"
)

const (
	// around is how much follows a page that is waited for.
	around = 64 << 10
	// slice is how much is brought in between two looks at who waits.
	slice = 256 << 10
)

var pageSize = uint64(os.Getpagesize())

// space is one address space.
type space struct {
	fd      uffd.FD
	file    string
	missing images.Extents
	waiting []uint64 // pages whose turn has not come
	gone    bool     // the process has ended
}

// serve does all that is asked for.
func (p *pager) serve() error {
	for i := 0; i < len(p.spaces); i++ { // forks append
		s := p.spaces[i]
		events, err := s.fd.Events(nil)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := p.note(s, e); err != nil {
				return err
			}
		}
		pages := s.waiting
		s.waiting = nil
		for _, page := range pages {
			p.lastHit = time.Now()
			if err := p.answer(s, page); err != nil {
				return err
			}
		}
	}
	return nil
}

// note keeps track of what a process does with its memory.
func (p *pager) note(s *space, e uffd.Event) error {
	switch e.Kind {
	case uffd.Fault:
		s.waiting = append(s.waiting, e.Start&^(pageSize-1))
	case uffd.Fork:
		p.adopt(&space{fd: e.Child, file: s.file, missing: s.missing.InheritedByChild()})
	case uffd.Remap:
		// Two threads tell of what they moved in any order. If the one that left the
		// place has not told yet, it can't be known what is whose.
		if s.missing.HasUnmoved(e.To, e.To+e.End-e.Start) {
			return errors.New("cannot follow how memory was moved: two threads told of it in the wrong order")
		}
		s.missing.Move(e.Start, e.End, e.To)
	case uffd.Remove:
		p.loaded.Add(s.missing.Remove(e.Start, e.End).Bytes())
	case uffd.Unmap:
		p.loaded.Add(s.missing.Unmap(e.Start, e.End).Bytes())
	}
	return nil
}

// adopt takes a child over, unless it lacks nothing.
func (p *pager) adopt(child *space) {
	if len(child.missing) == 0 {
		_ = child.fd.Close()
		return
	}
	p.total.Add(child.missing.Bytes())
	p.spaces = append(p.spaces, child)
	_ = p.guard.hold(child.fd) // it may have no room for hundreds
}

// answer ends the wait for a page.
func (p *pager) answer(s *space, page uint64) error {
	end := page - page%around + around
	if e, missing := s.missing.Find(page); missing {
		e = e.TailFrom(page)
		e.End = min(e.End, end)
		return p.copy(s, e, true)
	}
	// It never had contents.
	if next := s.missing.IndexAfter(page); next < len(s.missing) {
		end = min(end, s.missing[next].Start)
	}
	_, err := s.fd.Zero(page, end-page)
	if errors.Is(err, unix.ENOENT) {
		_, err = s.fd.Zero(page, pageSize) // the mapping ends there
	}
	return p.settle(s, page, err, true)
}

// fill brings in a piece that nobody waits for.
func (p *pager) fill() error {
	for _, s := range p.spaces {
		if len(s.missing) > 0 {
			e := s.missing[0]
			e.End = min(e.End, e.Start+slice)
			return p.copy(s, e, false)
		}
	}
	return nil
}

// copy brings in e as far as one chunk has it.
func (p *pager) copy(s *space, e images.Extent, waited bool) error {
	data, err := p.chunks.at(p.memory, s.file, e.Offset)
	if err != nil {
		return err
	}
	data = data[:min(uint64(len(data)), e.End-e.Start)]
	n, err := s.fd.Copy(e.Start, data)
	if errors.Is(err, unix.ENOENT) && uint64(len(data)) > pageSize {
		n, err = s.fd.Copy(e.Start, data[:pageSize]) // the mapping was divided
	}
	if n > 0 {
		p.came(s, e.Start, uint64(n))
		return nil
	}
	return p.settle(s, e.Start, err, waited)
}

// came notes that memory is no longer missing.
func (p *pager) came(s *space, start, length uint64) {
	s.missing.Remove(start, start+length)
	p.loaded.Add(int64(length))
}

// settle decides what becomes of a page that could not be put in its place.
func (p *pager) settle(s *space, page uint64, err error, waited bool) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EAGAIN):
		if waited {
			s.waiting = append(s.waiting, page)
		}
		return nil
	case errors.Is(err, unix.ESRCH): // the process has ended
		p.loaded.Add(s.missing.Bytes())
		s.missing, s.waiting, s.gone = nil, nil, true
		return nil
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOENT):
		// It is there already, or there is no place for it any more.
		if _, missing := s.missing.Find(page); missing {
			p.came(s, page, pageSize)
		}
		if err := s.fd.Wake(page, pageSize); err != nil {
			return fmt.Errorf("cannot wake who waits for memory: %w", err)
		}
		return nil
	default:
		return fmt.Errorf("cannot put memory in its place: %w", err)
	}
}
