package hibernate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// memory is the Memory of an image. Its files stay open, and therefore readable
// when the image is discarded.
type memory struct {
	image  *Image
	tagger tagger
	packer *packer // nil when the files are stored as they are
	files  map[string]pageFile
}

type pageFile struct {
	*os.File
	number uint32
	want   file
}

// memory opens the page files of the image.
func (i *Image) memory(t tagger) (*memory, error) {
	return i.memoryOf(t, func(name string) (*os.File, error) { return os.Open(i.path(name)) })
}

// memoryOf has the page files from open, in the order of the manifest.
func (i *Image) memoryOf(t tagger, open func(name string) (*os.File, error)) (*memory, error) {
	m := &memory{image: i, tagger: t, files: make(map[string]pageFile)}
	if i.manifest.Packing != nil {
		var err error
		if m.packer, err = i.manifest.packer(i.slot.store, t); err != nil {
			return nil, err
		}
	}
	for number, f := range i.manifest.Files {
		if !strings.HasPrefix(f.Name, pagesPrefix) {
			continue
		}
		opened, err := open(f.Name)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", ErrRefused, err), m.Close())
		}
		m.files[f.Name] = pageFile{opened, uint32(number), f}
	}
	return m, nil
}

// ReadChunk verifies what it has read and not what the file holds, which may
// change in between. See Memory.
func (m *memory) ReadChunk(file string, index int64, buffer []byte) ([]byte, error) {
	f, ok := m.files[file]
	if !ok {
		return nil, fmt.Errorf("%w: it has no %s", ErrRefused, file)
	}
	if m.packer != nil {
		return m.packer.open(f, f.want, f.number, index, buffer)
	}
	n, err := f.ReadAt(buffer[:chunk], index*chunk)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read memory: %w", err)
	}
	want := f.want.Tag.of(index)
	got := m.tagger.chunk(nil, buffer[:n], f.number, uint64(index))
	if want == nil || !bytes.Equal(got, want) {
		return nil, fmt.Errorf("%w: %s is damaged", ErrRefused, file)
	}
	return buffer[:n], nil
}

// Close closes the files; the last of a discarded image frees it.
func (m *memory) Close() error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
