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

// cachedChunk is a chunk of a page file with its buffer, which is used again for others.
type cachedChunk struct {
	file   string
	index  int64
	buffer []byte
	data   []byte // in buffer, nil if the chunk could not be read
}

// readToChunkEnd returns the contents of a page file from the offset to the end of the chunk
// that holds the offset. It reads a chunk that is not cached from m. The result is valid
// until the next read.
func (c *chunkCache) readToChunkEnd(m hibernate.Memory, file string, offset int64) ([]byte, error) {
	index := offset / hibernate.ChunkSize
	at := slices.IndexFunc(*c, func(h cachedChunk) bool { return h.file == file && h.index == index && h.data != nil })
	if at < 0 {
		if len(*c) < maxCachedChunks {
			buffer, err := mmapChunkBuffer()
			if err != nil {
				return nil, err
			}
			*c = append(*c, cachedChunk{buffer: buffer})
		}
		at = len(*c) - 1
		data, err := m.ReadVerifiedChunk(file, index, (*c)[at].buffer)
		if err != nil {
			(*c)[at].data = nil
			return nil, err
		}
		(*c)[at] = cachedChunk{file, index, (*c)[at].buffer, data}
	}
	h := (*c)[at]
	*c = slices.Insert(slices.Delete(*c, at, at+1), 0, h)
	return h.data[offset-index*hibernate.ChunkSize:], nil
}

// freeBuffers unmaps all buffers and empties the cache.
func (c *chunkCache) freeBuffers() {
	for _, h := range *c {
		_ = unix.Munmap(h.buffer)
	}
	*c = nil
}

// mmapChunkBuffer maps a buffer for one chunk, which the caller must unmap. The garbage
// collector would keep buffers of that size for long.
func mmapChunkBuffer() ([]byte, error) {
	return unix.Mmap(-1, 0, hibernate.ChunkSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
}
