// Package pack stores the files of an image: in chunks of 1 MiB, each compressed and
// encrypted if the operator wants that, and each with a tag of its own, so that any chunk
// can be read and verified alone. The package does not know what the files hold, nor what an
// image is.
package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// ErrDamaged means that a file is not as it was stored. The text of an error that
// wraps it begins with the name of the file.
var ErrDamaged = errors.New("is damaged")

// Options say how later images are packed.
type Options struct {
	// Key encrypts later images if Encrypt is set, and decrypts earlier ones.
	Key      []byte
	Encrypt  bool
	Compress bool
}

// Packs reports whether files are packed at all.
func (o Options) Packs() bool { return o.Encrypt || o.Compress }

// NewFormatOrNil returns the format of the next image, nil if its files are stored as they
// are.
func (o Options) NewFormatOrNil() (*Format, error) {
	if !o.Packs() {
		return nil, nil //nolint:nilnil // as the manifest has it
	}
	f := &Format{Compressed: o.Compress}
	var err error
	if o.Encrypt {
		f.Key, err = keyFingerprint(o.Key)
	}
	return f, err
}

// Format is how the files of one image are stored: in chunks, each compressed unless
// that would not make it smaller, and then encrypted. With a nil Format files are stored as
// they are.
type Format struct {
	// Key is the fingerprint of the key of encrypted files, nil if they are not encrypted.
	Key        []byte `json:"key,omitempty"`
	Compressed bool   `json:"compressed,omitempty"`
}

// IsEncrypted reports whether the files are encrypted.
func (f *Format) IsEncrypted() bool { return f != nil && f.Key != nil }

// File describes one file of an image.
type File struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Tag  Tag    `json:"tag"`
	// Stored are the sizes of the file's chunks on disk, nil if they are not compressed.
	Stored []int64 `json:"stored,omitempty"`
}

// StoredSize returns the size of the file on disk.
func (f File) StoredSize() int64 {
	if f.Stored == nil {
		return f.Size
	}
	return sumOf(f.Stored)
}

// StoredChunkSize returns the size of a chunk on disk, which must be one of the file.
func (f File) StoredChunkSize(index int64) int64 {
	_, stored, _ := f.locateChunk(index)
	return stored
}

// locateChunk returns at which offset a chunk is stored, in how many bytes, and how many bytes
// it has when it is unpacked. The unpacked size is not positive if the index is
// beyond the last chunk.
func (f File) locateChunk(index int64) (offset, storedSize, unpackedSize int64) {
	offset = index * ChunkSize
	unpackedSize = min(ChunkSize, f.Size-offset)
	if f.Stored == nil {
		return offset, unpackedSize, unpackedSize
	}
	if index < 0 || index >= int64(len(f.Stored)) {
		return 0, 0, -1
	}
	return sumOf(f.Stored[:index]), f.Stored[index], unpackedSize
}

// sumOf returns the sum of the sizes.
func sumOf(sizes []int64) (total int64) {
	for _, n := range sizes {
		total += n
	}
	return total
}

// Codec packs the chunks of one image and unpacks them. Several goroutines may use it.
type Codec struct {
	tagger    Tagger
	encrypted bool
	encoder   *zstd.Encoder // nil if nothing is compressed
	decoder   *zstd.Decoder
	buffers   *sync.Pool
}

// NewCodec returns the codec of the image with that ID, whose files are stored in that
// format. Chunks are encrypted and tagged with packingKey, or only tagged with hostKey if
// they are not encrypted.
func NewCodec(format *Format, imageID string, hostKey, packingKey []byte) (*Codec, error) {
	c := &Codec{encrypted: format.IsEncrypted(), buffers: &sync.Pool{New: func() any { return new([ChunkSize + tagSize]byte) }}}
	key := hostKey
	if c.encrypted {
		key = packingKey
	}
	var err error
	c.tagger, err = NewTagger(key, imageID)
	if format != nil && format.Compressed && err == nil {
		c.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(maxPackers),
			zstd.WithWindowSize(ChunkSize), zstd.WithEncoderCRC(false)) // the tag shows damage
		if err == nil {
			c.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(ChunkSize))
		}
	}
	return c, err
}

// packChunkInPlace returns the stored form of a chunk, compressed and encrypted as the format
// says, and its tag. Both may lie in data, which encryption overwrites, or in the buffer,
// which is for the compressed chunk.
func (c *Codec) packChunkInPlace(data, buffer []byte, fileNumber uint32, index uint64) (stored, tag []byte) {
	if c.encoder != nil {
		if small := c.encoder.EncodeAll(data, buffer[:0]); len(small) < len(data) {
			data = small
		}
	}
	if !c.encrypted {
		return data, c.tagger.appendChunkTag(nil, data, fileNumber, index)
	}
	whole := c.tagger.gcm.Seal(data[:0], chunkNonce(fileNumber, index), data, nil)
	return whole[:len(whole)-tagSize], whole[len(whole)-tagSize:]
}

// ReadVerifiedChunk reads, verifies and unpacks a chunk of the stored file f, which want
// describes, into the buffer, of ChunkSize bytes, and returns the part that it filled. The
// error wraps ErrDamaged if the chunk is not as it was packed. ReadVerifiedChunk verifies the
// bytes that it returns, not the file, which may change meanwhile.
func (c *Codec) ReadVerifiedChunk(f io.ReaderAt, want File, fileNumber uint32, index int64, buffer []byte) (filled []byte, err error) {
	offset, storedSize, size := want.locateChunk(index)
	tag := want.Tag.chunkTag(index)
	if tag == nil || size < 0 {
		return nil, fmt.Errorf("%s %w: it has no chunk %d", want.Name, ErrDamaged, index)
	}
	own, _ := c.buffers.Get().(*[ChunkSize + tagSize]byte)
	defer c.buffers.Put(own)
	stored := own[:storedSize]
	if !c.encrypted && storedSize == size {
		stored = buffer[:storedSize]
	}
	if _, err := f.ReadAt(stored, offset); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s %w: it is shorter than it was", want.Name, ErrDamaged)
	} else if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", want.Name, err)
	}
	if c.encrypted {
		// The cipher decrypts in place: its result may overlap its input.
		data, err := c.tagger.gcm.Open(own[:0], chunkNonce(fileNumber, uint64(index)), append(stored, tag...), nil)
		if err != nil {
			return nil, fmt.Errorf("%s %w", want.Name, ErrDamaged)
		}
		stored = data
	} else if !bytes.Equal(c.tagger.appendChunkTag(nil, stored, fileNumber, uint64(index)), tag) {
		return nil, fmt.Errorf("%s %w", want.Name, ErrDamaged)
	}
	if storedSize == size {
		return buffer[:copy(buffer, stored)], nil
	}
	plain, err := c.decoder.DecodeAll(stored, buffer[:0])
	if err != nil || int64(len(plain)) != size {
		return nil, errors.Join(fmt.Errorf("%s %w", want.Name, ErrDamaged), err)
	}
	return buffer[:copy(buffer, plain)], nil
}
