// Package archive builds, checks and unpacks the files of plugin packages: tar.zst or tar.gz
// of regular files, and links among them, with a SHA256SUMS that names all others. It alone
// unpacks what came from elsewhere. It does not know what the files mean.
package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Names of files in the top directory of a package.
const (
	SumsName      = "SHA256SUMS"
	SignatureName = SumsName + ".minisig" // of SHA256SUMS, by minisign
)

// Digest identifies the contents of a package: "sha256:" and the SHA-256 of its SHA256SUMS in
// hexadecimal digits.
type Digest string

const digestPrefix = "sha256:"

// DigestOf returns the digest of a package with that SHA256SUMS.
func DigestOf(sums []byte) Digest {
	sum := sha256.Sum256(sums)
	return Digest(digestPrefix + hex.EncodeToString(sum[:]))
}

// ParseDigest returns the digest that the text is, or an error.
func ParseDigest(text string) (Digest, error) {
	digits, ok := strings.CutPrefix(text, digestPrefix)
	if raw, err := hex.DecodeString(digits); !ok || err != nil || len(raw) != sha256.Size || digits != strings.ToLower(digits) {
		return "", fmt.Errorf("%q is not a digest: it must be %q and 64 lower-case hexadecimal digits", text, digestPrefix)
	}
	return Digest(text), nil
}

// Hex returns the hexadecimal digits, which are safe as a file name.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), digestPrefix) }

// Limits bound what is read of an archive. Each must be more than 0.
type Limits struct {
	Archive  int64 // bytes of the archive
	Unpacked int64 // bytes of the files together
	Files    int   // files, links and directories

	// Ratio is how many times larger than what was read of the archive the files may be, once
	// they have more than RatioFrom bytes.
	Ratio     int64
	RatioFrom int64
}

// LimitsFor returns limits for archives of up to that many bytes.
func LimitsFor(maxSize int64) Limits {
	return Limits{Archive: maxSize, Unpacked: 4 * maxSize, Files: 100_000, Ratio: 200, RatioFrom: 64 << 20}
}

// RefusedError says what of an archive or a directory a package must not have. Other errors
// are about the machine: a disk that is full, a network that broke.
type RefusedError struct {
	Name  string // of the file that is meant, "" for the whole
	Cause error
}

func (e *RefusedError) Error() string {
	if e.Name == "" {
		return e.Cause.Error()
	}
	return fmt.Sprintf("%q: %v", e.Name, e.Cause)
}

func (e *RefusedError) Unwrap() error { return e.Cause }

// refuse returns the RefusedError of a file.
func refuse(name, format string, args ...any) error {
	return &RefusedError{name, fmt.Errorf(format, args...)}
}
