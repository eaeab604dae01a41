package archive

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"dormouse/internal/bytesize"
)

// Head is what an archive says of itself, before anything is unpacked.
type Head struct {
	Form      Form
	File      []byte // the file that Peek was asked for
	Sums      []byte // SHA256SUMS
	Signature []byte // of SHA256SUMS, nil if there is none
}

// Digest returns the digest that the package has if its files are as SHA256SUMS says, which
// only Unpack checks.
func (h Head) Digest() Digest { return DigestOf(h.Sums) }

// maxPeeked is the most bytes that the file may have that Peek returns.
const maxPeeked = 1 << 20

// Peek reads SHA256SUMS, its signature and one file of an archive, and writes nothing. It
// reads no farther than these in an archive that Build has made. It checks the file against
// SHA256SUMS. A file that is missing is refused, except for the signature.
func Peek(ctx context.Context, r io.Reader, limits Limits, file string) (Head, error) {
	s, err := openStream(ctx, r, limits, nil)
	if err != nil {
		return Head{}, err
	}
	defer s.close()
	h := Head{Form: s.Form}
	wanted := map[string]*[]byte{file: &h.File, SumsName: &h.Sums, SignatureName: &h.Signature}
	most := map[string]int64{file: maxPeeked, SumsName: maxSumsSize, SignatureName: maxSignatureSize}
	tr := tar.NewReader(s)
	for read := 0; ; read++ {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Head{}, s.explain(err)
		}
		if read > limits.Files {
			return Head{}, refuse("", "the archive has more than %d files", limits.Files)
		}
		name, err := cleanName(header.Name)
		if err != nil {
			return Head{}, err
		}
		to := wanted[name]
		if to == nil || header.Typeflag != tar.TypeReg {
			if h.File != nil && h.Sums != nil { // Build would have put the signature before this file
				break
			}
			continue
		}
		if header.Size > most[name] {
			return Head{}, refuse(name, "it has more than %s", bytesize.Format(most[name]))
		}
		if *to, err = io.ReadAll(tr); err != nil {
			return Head{}, s.explain(err)
		}
	}
	return h, h.check(file)
}

// check refuses a head that lacks a part, or whose file is not as SHA256SUMS says.
func (h Head) check(file string) error {
	if h.Sums == nil {
		return refuse("", "the archive has no SHA256SUMS; `dormouse package build` makes one that has")
	}
	if h.File == nil {
		return refuse("", "the archive has no %s", file)
	}
	listed, err := parseSums(h.Sums)
	if err != nil {
		return err
	}
	if sum, named := listed[file]; !named || sum != sha256.Sum256(h.File) {
		return refuse(file, "it is not as SHA256SUMS says")
	}
	return nil
}

// PeekDirectory is Peek for a package that is unpacked in dir.
func PeekDirectory(ctx context.Context, dir, file string) (Head, error) {
	d, err := openDirectory(ctx, dir)
	if err != nil {
		return Head{}, err
	}
	defer d.close()
	var h Head
	if h.File, err = d.readSmall(file, maxPeeked); err != nil {
		return Head{}, err
	}
	if h.Sums, err = d.sums(); err != nil {
		return Head{}, err
	}
	if _, signed := d.tree.entries[SignatureName]; signed {
		h.Signature, err = d.readSmall(SignatureName, maxSignatureSize)
	}
	return h, err
}
