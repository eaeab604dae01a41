package pack

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// chunk is one chunk of a file on its way through a PackingStream, with its buffers.
type chunk struct {
	file        *storedFile
	index       uint64
	plain       []byte
	compressed  []byte
	stored, tag []byte
	packed      chan struct{} // gets a value when stored and tag are set
}

// newChunkWithBuffers returns an empty chunk with the buffers that the codec needs.
func (c *Codec) newChunkWithBuffers() *chunk {
	k := &chunk{plain: make([]byte, 0, ChunkSize+tagSize), packed: make(chan struct{}, 1)}
	if c.encoder != nil {
		k.compressed = make([]byte, 0, ChunkSize+ChunkSize/64) // what cannot be compressed grows a little
	}
	return k
}

// chunkingWriter cuts a file of a PackingStream into chunks while the engine writes the file.
type chunkingWriter struct {
	stream *PackingStream
	file   *storedFile
	chunk  *chunk // being filled, or nil
	index  uint64
}

// Write cuts the data into chunks, as ReadFrom does.
func (w *chunkingWriter) Write(data []byte) (int, error) {
	n, err := w.ReadFrom(bytes.NewReader(data))
	return int(n), err
}

// ReadFrom cuts all data of r into chunks, and sends each full one. It reads right into
// them, to save a copy. It waits while no chunk is free; after a failure of the stream it
// returns that failure.
func (w *chunkingWriter) ReadFrom(r io.Reader) (total int64, err error) {
	for {
		if w.chunk == nil {
			select {
			case w.chunk = <-w.stream.free:
			case <-w.stream.ctx.Done():
				return total, context.Cause(w.stream.ctx)
			}
		}
		k := w.chunk
		n, err := r.Read(k.plain[len(k.plain):ChunkSize])
		total += int64(n)
		if k.plain = k.plain[:len(k.plain)+n]; len(k.plain) == ChunkSize {
			w.sendChunk()
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// sendChunk has the stream pack and store the chunk. It never blocks: the channels have
// room for all chunks.
func (w *chunkingWriter) sendChunk() {
	k := w.chunk
	k.file, k.index = w.file, w.index
	w.stream.toPack <- k
	w.stream.toStore <- k
	w.chunk = nil
	w.index++
}

// Close sends the last chunk and does not wait until it is stored. It returns the failure of
// the stream so far; PackingStream.PackScratchAndFinish returns later ones.
func (w *chunkingWriter) Close() error {
	if w.chunk != nil && len(w.chunk.plain) > 0 {
		w.sendChunk()
	}
	if w.chunk != nil {
		w.stream.free <- w.chunk
		w.chunk = nil
	}
	return context.Cause(w.stream.ctx)
}
