package hibernate

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

// tag is a keyed digest of a file's contents: the GMACs of its chunks, one after
// the other, so that each chunk can be verified alone. GMAC runs at the speed of
// memory where processors have instructions for it; SHA-256 over everything would
// take longer than the dump.
type tag []byte

// tagSize is how much of a tag belongs to one chunk.
const tagSize = 16

// of returns the part of the tag that belongs to a chunk, nil when the file has
// no such chunk.
func (t tag) of(place int64) []byte {
	if place < 0 || place >= int64(len(t)/tagSize) {
		return nil
	}
	return t[place*tagSize : (place+1)*tagSize]
}

// chunk is how much one GMAC covers.
const chunk = 1 << 20

// tagger makes the tags of one image. It may be used from several goroutines.
type tagger struct {
	gcm cipher.AEAD
}

// newTagger derives the tagger of one image from the host's key. Each image
// has a key of its own, so that a file's number and a chunk's place make a
// nonce that is never used twice.
func newTagger(hostKey []byte, imageID string) (tagger, error) {
	key, err := hkdf.Key(sha256.New, hostKey, nil, "dormouse image "+imageID, 32)
	if err != nil {
		return tagger{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return tagger{}, err
	}
	gcm, err := cipher.NewGCM(block)
	return tagger{gcm}, err
}

// file reads f to its end, which must come after size bytes, and returns its
// tag. The number is the file's place among those of the image.
func (t tagger) file(f *os.File, number uint32, size int64) (tag, error) {
	var whole tag
	buffer := make([]byte, min(chunk, size+1))
	var read int64
	for place := uint64(0); ; place++ {
		n, err := io.ReadFull(f, buffer)
		if n > 0 {
			whole = t.chunk(whole, buffer[:n], number, place)
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
	return whole, nil
}

// chunk appends what a chunk has in the tag of its file.
func (t tagger) chunk(whole tag, data []byte, number uint32, place uint64) tag {
	return t.gcm.Seal(whole, nonce(number, place), nil, data)
}

func nonce(number uint32, place uint64) []byte {
	nonce := make([]byte, 12)
	binary.BigEndian.PutUint32(nonce, number)
	binary.BigEndian.PutUint64(nonce[4:], place)
	return nonce
}
