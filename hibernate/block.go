package hibernate

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// block is one chunk on its way.
type block struct {
	file        *storedFile
	place       uint64
	plain       []byte
	scratch     []byte
	stored, tag []byte
	sealed      chan struct{}
}

// block returns an empty one.
func (p *packer) block() *block {
	b := &block{plain: make([]byte, 0, chunk+tagSize), sealed: make(chan struct{}, 1)}
	if p.encoder != nil {
		b.scratch = make([]byte, 0, chunk+chunk/64) // what gets larger gets little larger
	}
	return b
}

// writer cuts a file of a stream into blocks.
type writer struct {
	stream *stream
	file   *storedFile
	block  *block // being filled, or nil
	place  uint64
}

func (w *writer) Write(data []byte) (int, error) {
	n, err := w.ReadFrom(bytes.NewReader(data))
	return int(n), err
}

// ReadFrom reads right into the blocks: nothing is copied twice.
func (w *writer) ReadFrom(r io.Reader) (total int64, err error) {
	for {
		if w.block == nil {
			select {
			case w.block = <-w.stream.free:
			case <-w.stream.ctx.Done():
				return total, context.Cause(w.stream.ctx)
			}
		}
		b := w.block
		n, err := r.Read(b.plain[len(b.plain):chunk])
		total += int64(n)
		if b.plain = b.plain[:len(b.plain)+n]; len(b.plain) == chunk {
			w.send()
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// send puts the block on its way. The channels have room for all that there are.
func (w *writer) send() {
	b := w.block
	b.file, b.place = w.file, w.place
	w.stream.sealing <- b
	w.stream.storing <- b
	w.block = nil
	w.place++
}

// Close waits for nothing; what fails later, finish tells.
func (w *writer) Close() error {
	if w.block != nil && len(w.block.plain) > 0 {
		w.send()
	}
	if w.block != nil {
		w.stream.free <- w.block
		w.block = nil
	}
	return context.Cause(w.stream.ctx)
}
