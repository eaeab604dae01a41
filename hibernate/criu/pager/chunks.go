package pager

import (
	"slices"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
)

// chunksHeld bounds the memory that a loading takes.
const chunksHeld = 6

// chunks keeps the chunks that were read last, the latest first.
type chunks []held

type held struct {
	file   string
	index  int64
	buffer []byte
	data   []byte
}

// at returns what a page file holds from the offset to the end of the chunk. It
// is good until the next call.
func (c *chunks) at(m hibernate.Memory, file string, offset int64) ([]byte, error) {
	index := offset / hibernate.ChunkSize
	place := slices.IndexFunc(*c, func(h held) bool { return h.file == file && h.index == index && h.data != nil })
	var h held
	switch {
	case place >= 0:
		h = (*c)[place]
		*c = slices.Delete(*c, place, place+1)
	case len(*c) == chunksHeld:
		h = (*c)[len(*c)-1]
		*c = (*c)[:len(*c)-1]
		h.data = nil
	}
	if h.buffer == nil {
		buffer, err := newChunk()
		if err != nil {
			return nil, err
		}
		h.buffer = buffer
	}
	var err error
	if h.data == nil {
		h.file, h.index = file, index
		h.data, err = m.ReadChunk(file, index, h.buffer)
	}
	if err != nil {
		h.data = nil
	}
	*c = slices.Insert(*c, 0, h)
	if err != nil {
		return nil, err
	}
	return h.data[offset-index*hibernate.ChunkSize:], nil
}

func (c *chunks) free() {
	for _, h := range *c {
		_ = unix.Munmap(h.buffer)
	}
	*c = nil
}

// newChunk is memory for a chunk, which must be unmapped: garbage of that size
// would stay for long.
func newChunk() ([]byte, error) {
	return unix.Mmap(-1, 0, hibernate.ChunkSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}
