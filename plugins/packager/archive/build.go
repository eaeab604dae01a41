package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
)

// ErrOutdatedSignature means that files were changed after they were signed.
var ErrOutdatedSignature = errors.New("the signature in it is older than its files; remove " + SignatureName + ", or sign it again with `dormouse package sign`")

// Build writes an archive of the files in dir, and returns its digest. The same files make the
// same bytes: names in order, first the file of that name, SHA256SUMS and its signature; no
// times, no owners. It calls progress with the bytes of files that were written, of all, unless
// that is nil.
//
// A SHA256SUMS in dir is kept if it is right, else the archive has a new one, unless dir has a
// signature: the error is then ErrOutdatedSignature.
func Build(ctx context.Context, dir string, w io.Writer, form Form, first string, progress func(done, total int64)) (Digest, error) {
	d, err := openDirectory(ctx, dir)
	if err != nil {
		return "", err
	}
	defer d.close()
	sums, err := d.sums()
	if err != nil {
		return "", err
	}
	if err := d.checkSignatureIsFor(sums); err != nil {
		return "", err
	}
	compressor, err := newCompressor(w, form)
	if err != nil {
		return "", err
	}
	b := &building{directory: d, tar: tar.NewWriter(compressor), sums: sums, progress: progress}
	if err := b.writeAll(first); err != nil {
		return "", err
	}
	if err := errors.Join(b.tar.Close(), compressor.Close()); err != nil {
		return "", fmt.Errorf("cannot write the archive: %w", err)
	}
	return DigestOf(sums), nil
}

// checkSignatureIsFor returns ErrOutdatedSignature if the directory has a signature, and that
// is not of these sums.
func (d *directory) checkSignatureIsFor(sums []byte) error {
	if _, signed := d.tree.entries[SignatureName]; !signed {
		return nil
	}
	if _, there := d.tree.entries[SumsName]; there {
		text, err := d.readSmall(SumsName, maxSumsSize)
		if err != nil {
			return err
		}
		if bytes.Equal(text, sums) {
			return nil
		}
	}
	return ErrOutdatedSignature
}

// newCompressor returns a writer that compresses what it is given in the same way at each time
// and on each machine.
func newCompressor(w io.Writer, form Form) (io.WriteCloser, error) {
	switch form {
	case TarZstd:
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(maxWindow), zstd.WithEncoderConcurrency(1))
	case TarGzip:
		return gzip.NewWriterLevel(w, gzip.BestCompression)
	}
	return nil, fmt.Errorf("%q is not a form of archive: it must be %s or %s", form, TarZstd, TarGzip)
}

// building is an archive while it is written.
type building struct {
	*directory
	tar      *tar.Writer
	sums     []byte
	progress func(done, total int64)

	done, total int64
}

// writeAll writes all files.
func (b *building) writeAll(first string) error {
	var names []string
	for name, e := range b.tree.entries {
		if e.kind != kindDir && name != SumsName && name != SignatureName && name != first {
			names = append(names, name)
		}
		b.total += b.sizes[name]
	}
	slices.Sort(names)
	if _, there := b.tree.entries[first]; there {
		if err := b.writeEntry(first); err != nil {
			return err
		}
	}
	if err := b.writeText(SumsName, b.sums); err != nil {
		return err
	}
	if _, signed := b.tree.entries[SignatureName]; signed {
		names = slices.Insert(names, 0, SignatureName)
	}
	for _, name := range names {
		if err := b.writeEntry(name); err != nil {
			return err
		}
	}
	return nil
}

// header returns the header of an entry, which is the same for the same file.
func header(name string, mode fs.FileMode, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode), Size: size, ModTime: time.Unix(0, 0)}
}

// writeText writes a file with that text.
func (b *building) writeText(name string, text []byte) error {
	err := b.tar.WriteHeader(header(name, 0o644, int64(len(text))))
	if err == nil {
		_, err = b.tar.Write(text)
	}
	if err != nil {
		return fmt.Errorf("cannot write the archive: %w", err)
	}
	return nil
}

// writeEntry writes a file or link of the directory.
func (b *building) writeEntry(name string) error {
	e := b.tree.entries[name]
	if e.kind == kindLink {
		h := header(name, 0o777, 0)
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.target
		if err := b.tar.WriteHeader(h); err != nil {
			return fmt.Errorf("cannot write the archive: %w", err)
		}
		return nil
	}
	f, err := b.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := b.tar.WriteHeader(header(name, b.modes[name], b.sizes[name])); err != nil {
		return fmt.Errorf("cannot write the archive: %w", err)
	}
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(b.tar, hash, writerFunc(b.report)), io.LimitReader(f, b.sizes[name])); err != nil {
		return fmt.Errorf("cannot write the archive: %w", err)
	}
	if [sha256.Size]byte(hash.Sum(nil)) != e.sum {
		return refuse(name, "it was changed while the archive was made")
	}
	return nil
}

// report tells of progress, and ends the building when its context has ended.
func (b *building) report(written []byte) (int, error) {
	b.done += int64(len(written))
	if b.progress != nil {
		b.progress(b.done, b.total)
	}
	return len(written), context.Cause(b.ctx)
}

// writerFunc is a function that writes as an io.Writer does.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
