package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"dormouse/internal/bytesize"
)

// source reads the bytes of an archive within a limit, for a decompressor that may read ahead
// in a goroutine of its own.
type source struct {
	ctx      context.Context
	reader   io.Reader
	limit    int64
	progress func(read int64) // nil for none

	mu     sync.Mutex // held while reader is read and progress is called
	closed bool
	total  int64
	broken error // of the reader or the context, nil while reading works
}

var errSourceClosed = errors.New("the archive is not read any more")

// Read implements io.Reader. It is refused to read more than the limit.
func (s *source) Read(to []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errSourceClosed
	}
	if s.broken = context.Cause(s.ctx); s.broken != nil {
		return 0, s.broken
	}
	n, err := s.reader.Read(to)
	s.total += int64(n)
	if err != nil && err != io.EOF {
		s.broken = fmt.Errorf("cannot read the archive: %w", err)
	}
	if s.progress != nil {
		s.progress(s.total)
	}
	if s.total > s.limit {
		return n, refuse("", "the archive has more than %s, see max-size in [packages]", bytesize.Format(s.limit))
	}
	return n, err
}

// read returns how many bytes were read.
func (s *source) read() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// brokenBy returns why reading failed, nil if it did not.
func (s *source) brokenBy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// close ends the use of the reader: when it returns none is under way.
func (s *source) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}
