package pack

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Tag is a keyed digest of a file's contents: the GMACs of its chunks, one after
// the other, so that each chunk can be verified alone. Where processors have
// instructions for it GMAC runs at the speed of memory; SHA-256 over all files would
// take longer than the dump.
type Tag []byte

// tagSize is how many bytes of a Tag belong to one chunk.
const tagSize = 16

// Chunks returns how many chunks the file has.
func (t Tag) Chunks() int64 { return int64(len(t) / tagSize) }

// ofChunk returns the part of the tag that belongs to a chunk, nil if the file has
// no such chunk.
func (t Tag) ofChunk(index int64) []byte {
	if index < 0 || index >= t.Chunks() {
		return nil
	}
	return t[index*tagSize : (index+1)*tagSize]
}

// ChunkSize is how many bytes of a file are tagged, packed and verified at once. Only
// the last chunk of a file is shorter.
const ChunkSize = 1 << 20

// Tagger computes the tags of one image. Several goroutines may use it.
type Tagger struct {
	gcm cipher.AEAD
}

// NewTagger derives the tagger of one image from the host's key. Each image has a key
// of its own, so that a file's number and a chunk's index make a nonce that is never
// used twice.
func NewTagger(hostKey []byte, imageID string) (Tagger, error) {
	key, err := hkdf.Key(sha256.New, hostKey, nil, "dormouse image "+imageID, 32)
	if err != nil {
		return Tagger{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return Tagger{}, err
	}
	gcm, err := cipher.NewGCM(block)
	return Tagger{gcm}, err
}

// TagFile reads f to its end, which must come after size bytes, and returns its tag.
// The number tells the file from all others that have tags of the same tagger.
func (t Tagger) TagFile(f *os.File, number uint32, size int64) (Tag, error) {
	var tag Tag
	buffer := make([]byte, min(ChunkSize, size+1))
	var read int64
	for index := uint64(0); ; index++ {
		n, err := io.ReadFull(f, buffer)
		if n > 0 {
			tag = t.appendTag(tag, buffer[:n], number, index)
			read += int64(n)
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if read != size {
		return nil, fmt.Errorf("it has %d bytes, not %d", read, size)
	}
	return tag, nil
}

// appendTag appends the tag of a chunk to that of its file.
func (t Tagger) appendTag(tag Tag, data []byte, number uint32, index uint64) Tag {
	return t.gcm.Seal(tag, nonce(number, index), nil, data)
}

// nonce returns the nonce of a chunk, by the number of its file and its index there.
func nonce(number uint32, index uint64) []byte {
	nonce := make([]byte, 12)
	binary.BigEndian.PutUint32(nonce, number)
	binary.BigEndian.PutUint64(nonce[4:], index)
	return nonce
}
