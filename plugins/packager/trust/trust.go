// Package trust decides by signatures of minisign whether a package is accepted. It does not
// know how packages are unpacked, nor what they ask for.
package trust

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"aead.dev/minisign"

	"dormouse/configs"
	"dormouse/internal/regularfile"
)

// Key is a public key of minisign.
type Key struct{ public minisign.PublicKey }

// ParseKey returns the key in a text: the line of base64 that `minisign -G` prints, or the
// contents of its key file.
func ParseKey(text string) (Key, error) {
	var k Key
	if err := k.public.UnmarshalText([]byte(strings.TrimSpace(text))); err != nil {
		return Key{}, errors.New("it is not a public key of minisign, as `minisign -G` makes")
	}
	return k, nil
}

// ReadKeys returns the keys of a list as [packages] has it: lines of base64, and paths of key
// files.
func ReadKeys(list []string) ([]Key, error) {
	var keys []Key
	for _, item := range list {
		text := item
		if !configs.IsPublicKey(item) {
			raw, err := regularfile.Read(item, maxKeyFile)
			if err != nil {
				return nil, fmt.Errorf("cannot read a key for packages: %w", err)
			}
			text = string(raw)
		}
		key, err := ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("cannot read a key for packages: %s: %w", item, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// maxKeyFile is the most bytes that a key file may have.
const maxKeyFile = 8 << 10

// ID returns the number of the key as minisign prints it, which it only uses to find keys.
func (k Key) ID() string { return formatID(k.public.ID()) }

// String returns the line of base64 that stands for the key.
func (k Key) String() string { return k.public.String() }

// formatID returns the number of a key as minisign prints it.
func formatID(id uint64) string { return fmt.Sprintf("%X", id) }

// Errors of Verify.
var (
	// ErrUnsigned means that there is no signature.
	ErrUnsigned = errors.New("it is not signed")
	// ErrUnknownKey means that none of the keys is the one that made the signature.
	ErrUnknownKey = errors.New("it is signed by a key that is not in [packages] keys")
	// ErrBadSignature means that the signature is malformed, or one of something else.
	ErrBadSignature = errors.New("its signature is wrong: the package was changed after it was signed, or the signature was made for another")
)

// Verify returns the ID of the key that has signed SHA256SUMS. The signature may be of either
// form that minisign knows, its comment is verified too.
func Verify(sums, signature []byte, keys []Key) (keyID string, err error) {
	if len(signature) == 0 {
		return "", ErrUnsigned
	}
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		return "", ErrBadSignature
	}
	err = fmt.Errorf("%w: %s", ErrUnknownKey, formatID(s.KeyID))
	for _, key := range keys {
		if key.public.ID() != s.KeyID {
			continue
		}
		if minisign.Verify(key.public, sums, signature) {
			return key.ID(), nil
		}
		err = ErrBadSignature
	}
	return "", err
}

// SignerOf returns the ID of the key that a signature names, and the comment that it vouches
// for, without verifying either.
func SignerOf(signature []byte) (keyID, comment string, err error) {
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		return "", "", ErrBadSignature
	}
	return formatID(s.KeyID), s.TrustedComment, nil
}

// Admit returns the ID of the key that has signed the package, or "" for one that is accepted
// without, else why it is refused. A package is local if an admin of this machine gave the
// archive or directory. A wrong signature by one of the keys is always refused.
func Admit(sums, signature []byte, keys []Key, unsigned configs.Unsigned, isLocal bool) (keyID string, err error) {
	keyID, err = Verify(sums, signature, keys)
	isUnsigned := errors.Is(err, ErrUnsigned) || errors.Is(err, ErrUnknownKey)
	switch {
	case err == nil:
		return keyID, nil
	case !isUnsigned:
		return "", err
	case unsigned == configs.UnsignedAlways, unsigned == configs.UnsignedLocal && isLocal:
		return "", nil
	case unsigned == configs.UnsignedLocal:
		return "", fmt.Errorf("%w; from a registry only signed packages are accepted (keys and unsigned in [packages])", err)
	}
	return "", fmt.Errorf("%w; only signed packages are accepted (keys and unsigned in [packages])", err)
}

// PrivateKey is a private key of minisign, with which packages are signed.
type PrivateKey struct{ private minisign.PrivateKey }

// ErrWrongPassword means that a private key is encrypted with another password.
var ErrWrongPassword = errors.New("the password is wrong, or the file is not a private key of minisign")

// ReadPrivateKey returns the private key in a file that `minisign -G` has made. It asks for the
// password if the key has one.
func ReadPrivateKey(path string, askPassword func() (string, error)) (PrivateKey, error) {
	text, err := regularfile.Read(path, maxKeyFile)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("cannot read the private key: %w", err)
	}
	var k PrivateKey
	if !minisign.IsEncrypted(text) {
		if err := k.private.UnmarshalText(text); err != nil {
			return PrivateKey{}, fmt.Errorf("cannot read the private key: %s is not one of minisign, as `minisign -G` makes", path)
		}
		return k, nil
	}
	password, err := askPassword()
	if err != nil {
		return PrivateKey{}, err
	}
	if k.private, err = minisign.DecryptKey(password, text); err != nil {
		return PrivateKey{}, fmt.Errorf("cannot use the private key: %w", ErrWrongPassword)
	}
	return k, nil
}

// Public returns the public key that belongs to k.
func (k PrivateKey) Public() Key {
	public, _ := k.private.Public().(minisign.PublicKey)
	return Key{public}
}

// Sign returns the signature of SHA256SUMS with a comment that it vouches for, of one line.
func (k PrivateKey) Sign(sums []byte, comment string) []byte {
	r := minisign.NewReader(bytes.NewReader(sums))
	_, _ = io.Copy(io.Discard, r) // in memory
	return r.SignWithComments(k.private, comment, "signature from minisign secret key")
}
