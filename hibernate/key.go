package hibernate

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
)

const keySize = 32

// ReadKey reads the key that images are encrypted with: 32 bytes, or 64
// hexadecimal digits.
func ReadKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o007 != 0 {
		err = fmt.Errorf("%s may be used by everybody; chmod o= it", path)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(path)
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

// nameOf tells a key from others and nothing else about it.
func nameOf(key []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, key, nil, "dormouse image key name", 8)
}

// Locked returns an ErrKey when the host has not the key that the image was
// encrypted with. Such an image is as good as ever: it is not refused, and can be
// woken by a host that has the key.
func (i *Image) Locked() error {
	if i == nil || i.manifest.Packing == nil || i.manifest.Packing.Key == nil {
		return nil
	}
	p, key := i.manifest.Packing, i.slot.store.packing.Key
	if key == nil {
		return fmt.Errorf("%w: it is encrypted, and the host has no key; set [hibernate] key-file and start it again", ErrKey)
	}
	name, err := nameOf(key)
	if err != nil {
		return err
	}
	if !bytes.Equal(name, p.Key) {
		return fmt.Errorf("%w: it was encrypted with another key, %x; this host has %x; start it with the key of then", ErrKey, p.Key, name)
	}
	return nil
}
