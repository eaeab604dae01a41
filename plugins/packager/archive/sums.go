package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// maxSumsSize is the most bytes that SHA256SUMS may have, and its signature.
const (
	maxSumsSize      = 32 << 20
	maxSignatureSize = 8 << 10
)

// formatSums returns SHA256SUMS for the files, as `sha256sum` writes it, in the order of the
// names.
func formatSums(sums map[string][sha256.Size]byte) []byte {
	var text bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		sum := sums[name]
		text.WriteString(hex.EncodeToString(sum[:]) + "  " + name + "\n")
	}
	return text.Bytes()
}

// parseSums returns the SHA-256 that SHA256SUMS has for each file.
func parseSums(text []byte) (map[string][sha256.Size]byte, error) {
	if len(text) > maxSumsSize {
		return nil, refuse(SumsName, "it has more than %d bytes", maxSumsSize)
	}
	sums := make(map[string][sha256.Size]byte)
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line, ended := strings.CutSuffix(line, "\n")
		var sum [sha256.Size]byte
		const digits = 2 * sha256.Size
		if !ended || len(line) < digits+3 || line[digits] != ' ' || line[digits+1] != ' ' && line[digits+1] != '*' {
			return nil, refuse(SumsName, "line %d is not a SHA-256, two spaces and a name, as `sha256sum` writes it", number)
		}
		if _, err := hex.Decode(sum[:], []byte(line[:digits])); err != nil {
			return nil, refuse(SumsName, "line %d does not begin with a SHA-256", number)
		}
		name, err := cleanName(line[digits+2:])
		if err != nil {
			return nil, refuse(SumsName, "line %d: %v", number, err)
		}
		if _, twice := sums[name]; twice || name == "" {
			return nil, refuse(SumsName, "line %d names %q again", number, name)
		}
		sums[name] = sum
	}
	return sums, nil
}

// compareSums refuses files that differ from what SHA256SUMS says: each has its line, and each
// line its file.
func compareSums(listed, found map[string][sha256.Size]byte) error {
	if len(listed) == 0 {
		return refuse(SumsName, "it names no file")
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		sum, there := found[name]
		switch {
		case name == SumsName || name == SignatureName:
			return refuse(SumsName, "it names %q, which it can't vouch for", name)
		case !there:
			return refuse(name, "it is missing, although SHA256SUMS names it")
		case sum != listed[name]:
			return refuse(name, "it is not as SHA256SUMS says: its SHA-256 is %x", sum)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if _, named := listed[name]; !named {
			return refuse(name, "SHA256SUMS does not name it")
		}
	}
	return nil
}
