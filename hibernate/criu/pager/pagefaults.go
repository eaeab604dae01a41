package pager

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/criu/images"
	"dormouse/internal/uffd"
)

const (
	// faultAhead is how many bytes at most are filled for one fault, from the page that
	// is waited for to the next multiple.
	faultAhead = 64 << 10
	// loadAhead is how many bytes at most are loaded before events are read again.
	loadAhead = 256 << 10
)

// addressSpace is the address space of one process of the tree: its userfaultfd, and the
// memory that is not loaded yet.
type addressSpace struct {
	fd      uffd.FD
	file    string // page file
	missing images.Extents
	faults  []uint64 // pages that threads wait for
	ended   bool     // so has the process
}

// handleEventsAndFaults reads the waiting events of all address spaces, also those of new
// children, and answers their faults. It waits for no event.
func (p *localPager) handleEventsAndFaults() error {
	for i := 0; i < len(p.spaces); i++ { // forks append to spaces
		s := p.spaces[i]
		events, err := s.fd.Events(nil)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := p.recordEvent(s, e); err != nil {
				return err
			}
		}
		pages := s.faults
		s.faults = nil
		for _, page := range pages {
			p.lastFault = time.Now()
			if err := p.fillFaultedPages(s, page); err != nil {
				return err
			}
		}
	}
	return nil
}

// recordEvent records the event: a page that a thread waits for, or a change of the
// address space by its process.
func (p *localPager) recordEvent(s *addressSpace, e uffd.Event) error {
	switch e.Kind {
	case uffd.Fault:
		s.faults = append(s.faults, e.Start&^(pageSize-1))
	case uffd.Fork:
		p.addOrCloseForkedChild(&addressSpace{fd: e.Child, file: s.file, missing: s.missing.InheritedByChild()})
	case uffd.Remap:
		// The kernel may report the moves of two threads in either order. If the target
		// still has memory that was never moved, a move away from it is not reported yet,
		// and the pager cannot know which memory is where.
		if s.missing.HasUnmoved(e.To, e.To+e.End-e.Start) {
			return errors.New("cannot follow how memory was moved: two threads reported it in the wrong order")
		}
		s.missing.Move(e.Start, e.End, e.To)
	case uffd.Remove:
		p.loaded.Add(s.missing.Remove(e.Start, e.End).Bytes())
	case uffd.Unmap:
		p.loaded.Add(s.missing.RemoveUnmoved(e.Start, e.End).Bytes())
	}
	return nil
}

// addOrCloseForkedChild takes over the address space of a forked child, and gives the holder a
// copy. If the child lacks no memory it closes the address space instead.
func (p *localPager) addOrCloseForkedChild(child *addressSpace) {
	if len(child.missing) == 0 {
		_ = child.fd.Close()
		return
	}
	p.total.Add(child.missing.Bytes())
	p.spaces = append(p.spaces, child)
	_ = p.holder.addCopy(child.fd) // fails after hundreds of forks, when the holder's socket is full
}

// fillFaultedPages fills the page that a thread waits for, and some pages after it, with the
// contents in the image or with zeros if there are none.
func (p *localPager) fillFaultedPages(s *addressSpace, page uint64) error {
	end := page - page%faultAhead + faultAhead
	if e, missing := s.missing.FindContaining(page); missing {
		e = e.TailFrom(page)
		e.End = min(e.End, end)
		return p.fillUpToChunkEnd(s, e, true)
	}
	// The image has no contents for the page: it reads as zeros.
	if next := s.missing.IndexEndingAfter(page); next < len(s.missing) {
		end = min(end, s.missing[next].Start)
	}
	_, err := s.fd.Zero(page, end-page)
	if errors.Is(err, unix.ENOENT) {
		_, err = s.fd.Zero(page, pageSize) // the mapping ends before end
	}
	return p.handleFillError(s, page, err, true)
}

// loadNextPages loads the next part of the missing memory, up to loadAhead, for which no
// thread waits. It does nothing if no memory is missing.
func (p *localPager) loadNextPages() error {
	for _, s := range p.spaces {
		if len(s.missing) > 0 {
			e := s.missing[0]
			e.End = min(e.End, e.Start+loadAhead)
			return p.fillUpToChunkEnd(s, e, false)
		}
	}
	return nil
}

// fillUpToChunkEnd fills the beginning of e with its contents, up to the end of a chunk, and
// marks it as loaded. awaited says that a thread waits for the first page.
func (p *localPager) fillUpToChunkEnd(s *addressSpace, e images.Extent, awaited bool) error {
	data, err := p.cache.readToChunkEnd(p.memory, s.file, e.Offset)
	if err != nil {
		return err
	}
	data = data[:min(uint64(len(data)), e.End-e.Start)]
	n, err := s.fd.Copy(e.Start, data)
	if errors.Is(err, unix.ENOENT) && uint64(len(data)) > pageSize {
		n, err = s.fd.Copy(e.Start, data[:pageSize]) // the mapping was divided
	}
	if n > 0 {
		p.markLoaded(s, e.Start, uint64(n))
		return nil
	}
	return p.handleFillError(s, e.Start, err, awaited)
}

// markLoaded removes the memory from what s lacks, and counts it as loaded.
func (p *localPager) markLoaded(s *addressSpace, start, length uint64) {
	s.missing.Remove(start, start+length)
	p.loaded.Add(int64(length))
}

// handleFillError handles the error, possibly nil, of filling a page. It returns nil if
// the page is filled, will be tried again, or no longer exists, also because the process
// has ended; and otherwise the error. awaited says that a thread waits for the page.
func (p *localPager) handleFillError(s *addressSpace, page uint64, err error, awaited bool) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EAGAIN): // an event must be read first
		if awaited {
			s.faults = append(s.faults, page)
		}
		return nil
	case errors.Is(err, unix.ESRCH): // the process has ended
		p.loaded.Add(s.missing.Bytes())
		s.missing, s.faults, s.ended = nil, nil, true
		return nil
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOENT): // the page is filled, or its mapping is gone
		if _, missing := s.missing.FindContaining(page); missing {
			p.markLoaded(s, page, pageSize)
		}
		if err := s.fd.Wake(page, pageSize); err != nil {
			return fmt.Errorf("cannot wake the threads that wait for memory: %w", err)
		}
		return nil
	default:
		return fmt.Errorf("cannot put memory in its place: %w", err)
	}
}
