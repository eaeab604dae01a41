package packager

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"dormouse/internal/failpoint"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/database"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/oci"
	"dormouse/plugins/packager/records"
)

// File is what an archive is written into: an *os.File.
type File interface {
	io.ReadWriteSeeker
	Truncate(size int64) error
}

// fetched is an archive on this machine, in a file of the host's own.
type fetched struct {
	path string
	size int64
}

// fetch brings the archive that the request names into a file of the host's own.
func (o *operation) fetch() (fetched, error) {
	if err := o.enterPhase(records.Fetching); err != nil {
		return fetched{}, err
	}
	path := o.uploadPath()
	failpoint.Hit("package.fetching")
	info, err := os.Stat(o.request.Source)
	_, _, isLayout := oci.SplitLayout(o.request.Source)
	switch {
	case o.request.Uploaded:
		path, err = o.request.Source, nil
	case isLayout:
		err = o.fetchRemote(path)
	case isPath(o.request.Source) && err != nil:
		return fetched{}, fmt.Errorf("cannot read the package: %w", err)
	case isPath(o.request.Source) && info.IsDir():
		err = o.packDirectory(path)
	case isPath(o.request.Source):
		err = o.copyArchive(path, info.Size())
	default:
		err = o.fetchRemote(path)
	}
	if err != nil {
		return fetched{}, err
	}
	failpoint.Hit("package.fetched")
	if info, err = os.Stat(path); err != nil {
		return fetched{}, err
	}
	return fetched{path, info.Size()}, nil
}

// uploadPath returns the file that the archive is fetched into. It is the same after a restart
// of the host, so that a download can go on.
func (o *operation) uploadPath() string {
	sum := sha256.Sum256([]byte(o.request.Source + "\x00" + o.request.Version))
	return filepath.Join(o.p.dirs.UploadDir(), o.name+"-"+hex.EncodeToString(sum[:8])+".part")
}

// packDirectory makes an archive of a directory.
func (o *operation) packDirectory(path string) error {
	return writeFile(path, func(f *os.File) error {
		_, err := archive.Build(o.ctx, o.request.Source, f, archive.TarZstd, manifest.FileName, o.tellProgress)
		return err
	})
}

// copyArchive copies an archive, which its owner may change meanwhile.
func (o *operation) copyArchive(path string, size int64) error {
	if most := int64(o.p.settings().MaxSize); size > most {
		return fmt.Errorf("%w: it has %d bytes, and [packages] max-size allows %d", ErrRefused, size, most)
	}
	in, err := os.Open(o.request.Source)
	if err != nil {
		return fmt.Errorf("cannot read the package: %w", err)
	}
	defer in.Close()
	return writeFile(path, func(f *os.File) error {
		_, err := io.Copy(f, &countedReader{ctx: o.ctx, from: in, total: size, told: o.tellProgress})
		return err
	})
}

// fetchRemote downloads an archive from a registry, going on where an earlier try has ended. What
// is refused, or has not begun, leaves no file.
func (o *operation) fetchRemote(path string) error {
	remote, err := o.p.remote()
	if err != nil {
		return err
	}
	defer remote.close()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = remote.fetch(o.ctx, o.request.Source, o.request.Version, f, o.tellProgress)
	if info, serr := f.Stat(); errors.Is(err, ErrRefused) || err != nil && serr == nil && info.Size() == 0 {
		err = errors.Join(err, os.Remove(path))
	}
	return errors.Join(err, f.Close())
}

// writeFile makes a file anew and lets write fill it.
func writeFile(path string, write func(*os.File) error) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// blobDigest is the digest of an archive's bytes while it is computed, beside the unpacking.
type blobDigest struct {
	done   chan struct{}
	digest string
	size   int64
	err    error
}

// beginDigest begins to compute the digest of a file. The caller waits for its end.
func beginDigest(path string) *blobDigest {
	d := &blobDigest{done: make(chan struct{})}
	go func() {
		defer close(d.done)
		f, err := os.Open(path)
		if err != nil {
			d.err = err
			return
		}
		defer f.Close()
		d.digest, d.size, d.err = database.Digest(f)
	}()
	return d
}

// wait returns the digest and the size.
func (d *blobDigest) wait() (digest string, size int64, err error) {
	<-d.done
	return d.digest, d.size, d.err
}

// countedReader reports how far a reader has come, and ends with its context.
type countedReader struct {
	ctx         context.Context
	from        io.Reader
	done, total int64
	told        func(done, total int64)
}

// Read is that of the reader, and returns the cause of the end of the context.
func (r *countedReader) Read(into []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	n, err := r.from.Read(into)
	r.done += int64(n)
	r.told(r.done, r.total)
	return n, err
}
