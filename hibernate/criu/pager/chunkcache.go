package pager

import (
	"slices"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
)

// maxCachedChunks is how many chunks a chunkCache keeps.
const maxCachedChunks = 6

// chunkCache keeps the chunks of page files that were read last, the latest first.
type chunkCache []cachedChunk

type cachedChunk struct {
	file   string
	index  int64
	buffer []byte
	data   []byte // in buffer, nil if the chunk could not be read
}

// read returns the contents of a page file from the offset to the end of its chunk. The
// result is valid until the next read.
func (c *chunkCache) read(m hibernate.Memory, file string, offset int64) ([]byte, error) {
	index := offset / hibernate.ChunkSize
	place := slices.IndexFunc(*c, func(h cachedChunk) bool { return h.file == file && h.index == index && h.data != nil })
	var h cachedChunk
	switch {
	case place >= 0:
		h = (*c)[place]
		*c = slices.Delete(*c, place, place+1)
	case len(*c) == maxCachedChunks:
		h = (*c)[len(*c)-1]
		*c = (*c)[:len(*c)-1]
		h.data = nil
	}
	if h.buffer == nil {
		buffer, err := allocateChunk()
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

// free unmaps all buffers.
func (c *chunkCache) free() {
	for _, h := range *c {
		_ = unix.Munmap(h.buffer)
	}
	*c = nil
}

// allocateChunk maps a buffer for one chunk, which the caller must unmap. The garbage
// collector would keep buffers of that size for long.
func allocateChunk() ([]byte, error) {
	return unix.Mmap(-1, 0, hibernate.ChunkSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}
