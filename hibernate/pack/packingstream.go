package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"dormouse/internal/regularfile"
)

// PackingStream packs the files of an image while the engine writes them: chunk by chunk, on
// several processors, each file in order. The engine has to wait when it is ahead by more
// than a few chunks: a stream keeps no more in memory.
type PackingStream struct {
	ctx     context.Context // ends with the first failure, which is its cause
	fail    context.CancelCauseFunc
	codec   *Codec
	scratch *Scratch
	dir     string
	files   []*storedFile

	free, toPack, toStore chan *chunk
	workers               sync.WaitGroup
	ended                 bool
}

// storedFile is a file of the stream with its description so far.
type storedFile struct {
	File
	target  *os.File
	number  uint32
	written int64
}

// maxPackers is how many processors at most pack one image.
const maxPackers = 4

// NewPackingStream returns a stream that packs files into packedDir until ctx ends. The
// engine may also write files into the scratch; PackScratchAndFinish packs those. The caller
// must close the stream, which closes the scratch.
func NewPackingStream(ctx context.Context, codec *Codec, scratch *Scratch, packedDir string) *PackingStream {
	packers := min(maxPackers, runtime.GOMAXPROCS(0))
	chunks := packers + 2 // one more is filled and one is stored
	s := &PackingStream{
		codec: codec, scratch: scratch, dir: packedDir,
		free: make(chan *chunk, chunks), toPack: make(chan *chunk, chunks), toStore: make(chan *chunk, chunks),
	}
	s.ctx, s.fail = context.WithCancelCause(ctx)
	for range chunks {
		s.free <- codec.newChunkWithBuffers()
	}
	for range packers {
		s.workers.Go(s.packChunksUntilClosed)
	}
	s.workers.Go(s.storeChunksUntilClosed)
	return s
}

// ScratchDir returns the directory of the scratch.
func (s *PackingStream) ScratchDir() string { return s.scratch.Dir }

// CreatePackedFile begins a file that is packed while it is written. Only one goroutine may
// write the file, and must close it before it creates the next file.
func (s *PackingStream) CreatePackedFile(name string) (io.WriteCloser, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	file := &storedFile{File: File{Name: name}, target: f, number: uint32(len(s.files))}
	s.files = append(s.files, file)
	return &chunkingWriter{stream: s, file: file}, nil
}

// PackScratchAndFinish packs the files of the scratch, waits until all packed files are on
// disk, and returns their descriptions, or the failure of the stream. No file can be created
// after it.
func (s *PackingStream) PackScratchAndFinish() ([]File, error) {
	entries, err := os.ReadDir(s.scratch.Dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if err := s.packAndRemoveScratchFile(filepath.Join(s.scratch.Dir, entry.Name())); err != nil {
			return nil, err
		}
	}
	s.closeAndAwaitChunks()
	if err := context.Cause(s.ctx); err != nil {
		return nil, err
	}
	files := make([]File, len(s.files))
	for i, f := range s.files {
		if err := f.target.Sync(); err != nil {
			return nil, err
		}
		files[i] = f.File
	}
	return files, nil
}

// packAndRemoveScratchFile sends a file of the scratch through the stream and removes it from
// the scratch.
func (s *PackingStream) packAndRemoveScratchFile(path string) error {
	source, err := regularfile.Open(path)
	if err != nil {
		return err
	}
	defer source.Close()
	if info, err := source.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(fmt.Errorf("%s is not a regular file", filepath.Base(path)), err)
	}
	target, err := s.CreatePackedFile(filepath.Base(path))
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close(), os.Remove(path))
}

// closeAndAwaitChunks takes no more chunks, and returns when those sent so far are stored or
// the stream has failed. Later calls do nothing.
func (s *PackingStream) closeAndAwaitChunks() {
	if s.ended {
		return
	}
	s.ended = true
	close(s.toPack)
	close(s.toStore)
	s.workers.Wait()
}

// Close waits for the chunks on their way and releases everything that the stream holds, the
// scratch included. It removes no packed file.
func (s *PackingStream) Close() {
	s.closeAndAwaitChunks()
	s.fail(nil)
	for _, f := range s.files {
		_ = f.target.Close()
	}
	_ = s.scratch.Close()
}

// packChunksUntilClosed packs the chunks that are sent to the stream. It runs in several
// goroutines.
func (s *PackingStream) packChunksUntilClosed() {
	for k := range s.toPack {
		k.stored, k.tag = s.codec.packChunkInPlace(k.plain, k.compressed, k.file.number, k.index)
		k.packed <- struct{}{}
	}
}

// storeChunksUntilClosed appends the packed chunks to their files in the order in which they
// were sent, and frees them. After the first failure, with which it fails the stream, it only
// frees them. It runs in one goroutine.
func (s *PackingStream) storeChunksUntilClosed() {
	for k := range s.toStore {
		<-k.packed
		if s.ctx.Err() == nil {
			if err := s.appendChunkToFile(k.file, k); err != nil {
				s.fail(err)
			}
		}
		k.plain = k.plain[:0]
		s.free <- k
	}
}

// appendChunkToFile appends a packed chunk to its file and to the file's description. The
// kernel begins to write the chunk to disk at once, so that the sync in PackScratchAndFinish
// has little left.
func (s *PackingStream) appendChunkToFile(f *storedFile, k *chunk) error {
	f.Size += int64(len(k.plain))
	f.Tag = append(f.Tag, k.tag...)
	if s.codec.encoder != nil {
		f.Stored = append(f.Stored, int64(len(k.stored)))
	}
	n, err := f.target.Write(k.stored)
	_ = unix.SyncFileRange(int(f.target.Fd()), f.written, int64(n), unix.SYNC_FILE_RANGE_WRITE)
	f.written += int64(n)
	return err
}
