package pack

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"dormouse/internal/regularfile"
)

// ErrKey means that this host does not have the key of an image. The image is kept.
var ErrKey = errors.New("the image is locked")

const keySize = 32

// ReadKey returns the key that images are encrypted with, of 32 bytes. The file at path
// holds it as it is, or as 64 hexadecimal digits, and must not be open to all users.
func ReadKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o007 != 0 {
		err = fmt.Errorf("%s is open to all users; chmod o= it", path)
	}
	var text []byte
	if err == nil {
		text, err = regularfile.Read(path, 1<<10)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the key of the images: %w", err)
	}
	if len(text) == keySize {
		return text, nil
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("cannot read the key of the images: %s has neither %d bytes nor %d hexadecimal digits", path, keySize, 2*keySize)
	}
	return key, nil
}

// keyFingerprint returns 8 bytes that identify a key and do not reveal it.
func keyFingerprint(key []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, key, nil, "dormouse image key name", 8)
}

// CheckHostKey returns an ErrKey if files in this format are encrypted with another key than
// key, which is the host's, nil for none.
func (f *Format) CheckHostKey(key []byte) error {
	if !f.IsEncrypted() {
		return nil
	}
	if key == nil {
		return fmt.Errorf("%w: it is encrypted, and the host has no key; set [hibernate] key-file and start it again", ErrKey)
	}
	own, err := keyFingerprint(key)
	if err != nil {
		return err
	}
	if !bytes.Equal(own, f.Key) {
		return fmt.Errorf("%w: it was encrypted with another key, %x; this host has key %x; start the host with the former", ErrKey, f.Key, own)
	}
	return nil
}
