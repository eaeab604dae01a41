package hibernate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Packing is what is done to images before they are written.
type Packing struct {
	// Key encrypts if Encrypt is set, and decrypts what was encrypted with it.
	Key      []byte
	Encrypt  bool
	Compress bool
}

// Pack sets how all later images are packed. Those of before can be woken as long
// as the key is the same. It must not be called while there is a checkpoint.
func (s *Store) Pack(p Packing) { s.packing = p }

// packs tells whether the next image is packed.
func (s *Store) packs() bool { return s.packing.Encrypt || s.packing.Compress }

// packing says in a manifest how the files are stored: in chunks, each compressed
// unless that would not make it smaller, and then encrypted.
type packing struct {
	// Key names the key of encrypted files; they are not encrypted without.
	Key        []byte `json:"key,omitempty"`
	Compressed bool   `json:"compressed,omitempty"`
}

// newPacking returns how the next image is packed, nil when its files are stored as
// they are.
func (s *Store) newPacking() (*packing, error) {
	if !s.packs() {
		return nil, nil //nolint:nilnil // as the manifest has it
	}
	p := &packing{Compressed: s.packing.Compress}
	var err error
	if s.packing.Encrypt {
		p.Key, err = nameOf(s.packing.Key)
	}
	return p, err
}

// packer puts the chunks of one image into the form in which they are stored, and
// back. It may be used from several goroutines.
type packer struct {
	tagger    tagger
	encrypted bool
	encoder   *zstd.Encoder // nil when nothing is compressed
	decoder   *zstd.Decoder
	buffers   *sync.Pool
}

// packer returns the one of the image that m describes; t has tags under the
// host's own key.
func (m *manifest) packer(s *Store, t tagger) (*packer, error) {
	p := &packer{tagger: t, buffers: &sync.Pool{New: func() any { return new([chunk + tagSize]byte) }}}
	var err error
	if m.Packing.Key != nil {
		p.encrypted = true
		p.tagger, err = newTagger(s.packing.Key, m.ID)
	}
	if m.Packing.Compressed && err == nil {
		p.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(sealers),
			zstd.WithWindowSize(chunk), zstd.WithEncoderCRC(false)) // the tag tells
		if err == nil {
			p.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(chunk))
		}
	}
	return p, err
}

// seal returns the stored form of a chunk, and what belongs into the tag of the file
// after it. It is made in place or in the scratch.
func (p *packer) seal(data, scratch []byte, number uint32, place uint64) (stored, tag []byte) {
	if p.encoder != nil {
		if small := p.encoder.EncodeAll(data, scratch[:0]); len(small) < len(data) {
			data = small
		}
	}
	if !p.encrypted {
		return data, p.tagger.chunk(nil, data, number, place)
	}
	whole := p.tagger.gcm.Seal(data[:0], nonce(number, place), data, nil)
	return whole[:len(whole)-tagSize], whole[len(whole)-tagSize:]
}

// open reads a chunk of a stored file into the buffer, and returns the part that
// it filled. The error is an ErrRefused when it is not what was sealed.
func (p *packer) open(f io.ReaderAt, want file, number uint32, place int64, buffer []byte) ([]byte, error) {
	offset, length, size := want.chunk(place)
	tag := want.Tag.of(place)
	if tag == nil || size < 0 {
		return nil, fmt.Errorf("%w: %s has no chunk %d", ErrRefused, want.Name, place)
	}
	scratch, _ := p.buffers.Get().(*[chunk + tagSize]byte)
	defer p.buffers.Put(scratch)
	stored := scratch[:length]
	if _, err := f.ReadAt(stored, offset); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: %s is shorter than it was", ErrRefused, want.Name)
		}
		return nil, err
	}
	damaged := fmt.Errorf("%w: %s is damaged", ErrRefused, want.Name)
	if p.encrypted {
		// In place: the cipher allows that its result overlaps what it reads.
		data, err := p.tagger.gcm.Open(scratch[:0], nonce(number, uint64(place)), append(stored, tag...), nil)
		if err != nil {
			return nil, damaged
		}
		stored = data
	} else if !bytes.Equal(p.tagger.chunk(nil, stored, number, uint64(place)), tag) {
		return nil, damaged
	}
	if length == size {
		return buffer[:copy(buffer, stored)], nil
	}
	plain, err := p.decoder.DecodeAll(stored, buffer[:0])
	if err != nil || int64(len(plain)) != size {
		return nil, fmt.Errorf("%w: %w", damaged, err)
	}
	return buffer[:copy(buffer, plain)], nil
}

// chunk tells where a chunk is stored, in how many bytes, and how many it has.
func (f file) chunk(place int64) (offset, length, size int64) {
	offset = place * chunk
	size = min(chunk, f.Size-offset)
	if f.Stored == nil {
		return offset, size, size
	}
	if place < 0 || place >= int64(len(f.Stored)) {
		return 0, 0, -1
	}
	offset = 0
	for _, n := range f.Stored[:place] {
		offset += n
	}
	return offset, f.Stored[place], size
}

// stored is the size of the file on disk.
func (f file) stored() int64 {
	if f.Stored == nil {
		return f.Size
	}
	var total int64
	for _, n := range f.Stored {
		total += n
	}
	return total
}
