package hibernate

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
)

// stream packs an image while the engine makes it: chunk by chunk, on all processors,
// each file in order. The engine waits when it is ahead by more than a few chunks, and
// those are all the memory that it takes.
type stream struct {
	ctx    context.Context // ends with the first failure, which is its cause
	fail   context.CancelCauseFunc
	packer *packer
	stage  *stage // for the files that are packed at the end
	draft  string
	files  []*storedFile

	free, sealing, storing chan *block
	work                   sync.WaitGroup
	ended                  bool
}

// storedFile is a file of the draft, with its description so far.
type storedFile struct {
	file
	target  *os.File
	number  uint32
	written int64
}

// sealers bounds how many processors pack one image.
const sealers = 4

// pack begins to pack the image that m describes into draft, until ctx ends. The
// stream must be closed.
func (s *Slot) pack(ctx context.Context, m *manifest, t tagger, draft string) (*stream, error) {
	p, err := m.packer(s.store, t)
	if err != nil {
		return nil, err
	}
	stage, err := s.stage(m)
	if err != nil {
		return nil, err
	}
	n := min(sealers, runtime.GOMAXPROCS(0))
	blocks := n + 2 // of which one is filled and one stored
	out := &stream{
		packer: p, stage: stage, draft: draft,
		free: make(chan *block, blocks), sealing: make(chan *block, blocks), storing: make(chan *block, blocks),
	}
	out.ctx, out.fail = context.WithCancelCause(ctx)
	for range blocks {
		out.free <- p.block()
	}
	for range n {
		out.work.Go(out.seal)
	}
	out.work.Go(out.store)
	return out, nil
}

// create begins a file. It is in the hands of one goroutine, and the one before is
// closed.
func (s *stream) create(name string) (io.WriteCloser, error) {
	f, err := os.OpenFile(filepath.Join(s.draft, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s.files = append(s.files, &storedFile{file: file{Name: name}, target: f, number: uint32(len(s.files))})
	return &writer{stream: s, file: s.files[len(s.files)-1]}, nil
}

// finish packs what is left in the stage, and returns all files when they are on disk.
func (s *stream) finish() ([]file, error) {
	entries, err := os.ReadDir(s.stage.dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if err := s.take(filepath.Join(s.stage.dir, entry.Name())); err != nil {
			return nil, err
		}
	}
	s.end()
	if err := context.Cause(s.ctx); err != nil {
		return nil, err
	}
	files := make([]file, len(s.files))
	for i, f := range s.files {
		if err := f.target.Sync(); err != nil {
			return nil, err
		}
		files[i] = f.file
	}
	return files, nil
}

// take moves a file from the stage, which may be memory, into the draft.
func (s *stream) take(path string) error {
	source, err := os.Open(path)
	if err != nil {
		return err
	}
	defer source.Close()
	if info, err := source.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(fmt.Errorf("%s is not a regular file", filepath.Base(path)), err)
	}
	target, err := s.create(filepath.Base(path))
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close(), os.Remove(path))
}

// end returns when nothing is under way any more.
func (s *stream) end() {
	if s.ended {
		return
	}
	s.ended = true
	close(s.sealing)
	close(s.storing)
	s.work.Wait()
}

// close lets go of all that the stream holds, the stage included.
func (s *stream) close() {
	s.end()
	s.fail(nil)
	for _, f := range s.files {
		_ = f.target.Close()
	}
	_ = s.stage.close()
}

// seal is what several goroutines do, chunk by chunk.
func (s *stream) seal() {
	for b := range s.sealing {
		b.stored, b.tag = s.packer.seal(b.plain, b.scratch, b.file.number, b.place)
		b.sealed <- struct{}{}
	}
}

// store is what one goroutine does, in the order of the chunks.
func (s *stream) store() {
	for b := range s.storing {
		<-b.sealed
		if s.ctx.Err() == nil {
			if err := s.append(b.file, b); err != nil {
				s.fail(err)
			}
		}
		b.plain = b.plain[:0]
		s.free <- b
	}
}

// append writes a sealed chunk, and has the disk begin with it: the sync at the end
// finds most of it done.
func (s *stream) append(f *storedFile, b *block) error {
	f.Size += int64(len(b.plain))
	f.Tag = append(f.Tag, b.tag...)
	if s.packer.encoder != nil {
		f.Stored = append(f.Stored, int64(len(b.stored)))
	}
	n, err := f.target.Write(b.stored)
	_ = unix.SyncFileRange(int(f.target.Fd()), f.written, int64(n), unix.SYNC_FILE_RANGE_WRITE)
	f.written += int64(n)
	return err
}
