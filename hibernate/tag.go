package hibernate

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// tag is a keyed digest of a file's contents: the SHA-256 of the GMACs of its
// chunks. GMAC runs at the speed of memory where processors have instructions
// for it; SHA-256 over everything would take longer than the dump.
type tag []byte

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
	whole := sha256.New()
	buffer := make([]byte, min(chunk, size+1))
	var read int64
	for place := uint64(0); ; place++ {
		n, err := io.ReadFull(f, buffer)
		if n > 0 {
			t.chunk(whole, buffer[:n], number, place)
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
	return whole.Sum(nil), nil
}

func (t tagger) chunk(whole hash.Hash, data []byte, number uint32, place uint64) {
	nonce := make([]byte, 12)
	binary.BigEndian.PutUint32(nonce, number)
	binary.BigEndian.PutUint64(nonce[4:], place)
	whole.Write(t.gcm.Seal(nil, nonce, nil, data))
}
