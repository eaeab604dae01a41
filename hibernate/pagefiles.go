package hibernate

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"dormouse/hibernate/pack"
	"dormouse/internal/regularfile"
)

// ChunkSize is how many bytes of a page file are verified at once.
const ChunkSize = pack.ChunkSize

// Memory is the content of the page files of an image. It never returns an unverified
// byte. Several goroutines may use it.
type Memory interface {
	// ReadVerifiedChunk reads a chunk of a file, counted from 0, into the buffer, which has
	// ChunkSize bytes, and returns the part that it filled: the last chunk is
	// shorter. The error wraps ErrRefused if the chunk is not what was dumped.
	ReadVerifiedChunk(file string, chunk int64, buffer []byte) (filled []byte, err error)
	// BytesRead returns how many bytes of the image on disk were read so far, each counted
	// once: the chunks that ReadVerifiedChunk has read, and all files that hold no memory,
	// which were read before. It may be called after Close.
	BytesRead() int64
	// HandOver returns what ReceiveMemory needs in another process: a text that holds the
	// keys of the image, and the open page files, which this Memory will close.
	HandOver() (text json.RawMessage, pageFiles []*os.File, err error)
	// Close closes the page files. No other method but BytesRead may be called after it.
	Close() error
}

// imageMemory is the Memory of an image. Its files stay open, so it can be read after
// the image was discarded.
type imageMemory struct {
	from  memoryHandover
	codec *pack.Codec
	files map[string]pageFile
	read  atomic.Int64 // see BytesRead
}

// pageFile is an open page file of an image.
type pageFile struct {
	*os.File
	number uint32    // among the files of the image
	want   pack.File // from the manifest
	// chunksRead says of each chunk whether it was read.
	chunksRead []atomic.Bool
}

// openMemory opens the page files of the image.
func (i *Image) openMemory() (*imageMemory, error) {
	store, m := i.dir.store, &i.manifest
	from := memoryHandover{Key: store.key, PackingKey: store.packing.Key, ID: m.ID, Packing: m.Packing, Files: m.Files}
	return openImageMemory(from, func(name string) (*os.File, error) { return regularfile.Open(i.path(name)) })
}

// openImageMemory returns the memory of an image. It calls open for each page file, in the
// order of the manifest; the error wraps ErrRefused if one is missing.
func openImageMemory(from memoryHandover, open func(name string) (*os.File, error)) (*imageMemory, error) {
	codec, err := pack.NewCodec(from.Packing, from.ID, from.Key, from.PackingKey)
	if err != nil {
		return nil, err
	}
	m := &imageMemory{from: from, codec: codec, files: make(map[string]pageFile)}
	for number, f := range from.Files {
		if !isPageFile(f.Name) {
			m.read.Add(f.StoredSize())
			continue
		}
		opened, err := open(f.Name)
		if err != nil {
			return nil, errors.Join(missingAsRefused(err), m.Close())
		}
		m.files[f.Name] = pageFile{opened, uint32(number), f, make([]atomic.Bool, f.Tag.ChunkCount())}
	}
	return m, nil
}

// ReadVerifiedChunk reads and verifies a chunk, see Memory.
func (m *imageMemory) ReadVerifiedChunk(file string, chunk int64, buffer []byte) (filled []byte, err error) {
	f, ok := m.files[file]
	if !ok {
		return nil, fmt.Errorf("%w: it has no %s", ErrRefused, file)
	}
	data, err := m.codec.ReadVerifiedChunk(f, f.want, f.number, chunk, buffer)
	if err == nil && !f.chunksRead[chunk].Swap(true) {
		m.read.Add(f.want.StoredChunkSize(chunk))
	}
	return data, damagedAsRefused(err)
}

// BytesRead returns how many bytes of the image were read, see Memory.
func (m *imageMemory) BytesRead() int64 { return m.read.Load() }

// damagedAsRefused makes a pack.ErrDamaged an ErrRefused too, and returns other errors as
// they are.
func damagedAsRefused(err error) error {
	if errors.Is(err, pack.ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// Close closes the page files, and so frees the disk space of a discarded image.
func (m *imageMemory) Close() error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
