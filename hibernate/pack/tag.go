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
// the other, so that each chunk can be verified alone. A processor with instructions for
// GMAC computes it at the speed of memory; SHA-256 would take longer than the dump.
type Tag []byte

// tagSize is how many bytes of a Tag belong to one chunk.
const tagSize = 16

// ChunkCount returns how many chunks the file has.
func (t Tag) ChunkCount() int64 { return int64(len(t) / tagSize) }

// chunkTag returns the tag of one chunk, nil if the file has no such chunk.
func (t Tag) chunkTag(index int64) []byte {
	if index < 0 || index >= t.ChunkCount() {
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

// NewTagger returns the tagger of one image. Its key is derived from the host's key and the
// image's ID, so that the number of a file and the index of a chunk make a nonce that is
// used only once with that key.
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

// TagFile reads f and returns its tag, or an ErrDamaged if f does not have wantSize bytes. The
// number must differ from those of all other files that the tagger tags.
func (t Tagger) TagFile(f *os.File, fileNumber uint32, wantSize int64) (Tag, error) {
	var tag Tag
	buffer := make([]byte, min(ChunkSize, wantSize+1))
	var read int64
	for index := uint64(0); ; index++ {
		n, err := io.ReadFull(f, buffer)
		if n > 0 {
			tag = t.appendChunkTag(tag, buffer[:n], fileNumber, index)
			read += int64(n)
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if read != wantSize {
		return nil, fmt.Errorf("%w: it has %d bytes, not %d", ErrDamaged, read, wantSize)
	}
	return tag, nil
}

// appendChunkTag appends the tag of a chunk to the tag of its file.
func (t Tagger) appendChunkTag(tag Tag, data []byte, fileNumber uint32, index uint64) Tag {
	return t.gcm.Seal(tag, chunkNonce(fileNumber, index), nil, data)
}

// chunkNonce returns the nonce of the chunk with that index in the file with that number.
func chunkNonce(fileNumber uint32, index uint64) []byte {
	nonce := make([]byte, 12)
	binary.BigEndian.PutUint32(nonce, fileNumber)
	binary.BigEndian.PutUint64(nonce[4:], index)
	return nonce
}
