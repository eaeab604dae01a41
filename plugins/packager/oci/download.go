package oci

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"crypto/sha256"

	"oras.land/oras-go/v2/content"
)

// File is what an archive is downloaded into: an *os.File.
type File interface {
	io.ReadWriteSeeker
	Truncate(size int64) error
}

// errOtherBytes means that what was downloaded is not the archive.
var errOtherBytes = errors.New("the registry sent other bytes than the manifest says")

// Causes of the end of a request: the registry sent nothing, or too slowly.
var (
	errSilent = errors.New("the registry sends nothing any more")
	errSlow   = errors.New("the registry did not finish its answer in time")
)

// errEndless means that the list of tags does not end.
var errEndless = fmt.Errorf("the registry lists more than %d tags, or %d pages of them", maxTags, maxTagPages)

// brokenError is the error of a download that broke off and may go on where it was.
type brokenError struct{ error }

func (e brokenError) Unwrap() error { return e.error }

// download is one archive on its way into a file.
type download struct {
	artifact Artifact
	file     File
	progress Progress
	silence  time.Duration

	hash hash.Hash // of the first have bytes
	have int64
}

// run appends what the file lacks. A beginning that turns out to be of another archive is
// fetched anew.
func (d *download) run(ctx context.Context, from content.Fetcher) error {
	if err := d.readPresentBytes(); err != nil {
		return err
	}
	hadBeginning := d.have > 0
	err := d.finish(ctx, from)
	if hadBeginning && errors.Is(err, errOtherBytes) {
		err = d.finish(ctx, from)
	}
	return err
}

// finish appends what the file lacks, again as long as each attempt that breaks off has brought
// something, and compares the whole with the archive's digest.
func (d *download) finish(ctx context.Context, from content.Fetcher) error {
	for fruitless := 0; d.have < d.artifact.Size; {
		before := d.have
		err := d.appendRest(ctx, from)
		if _, broken := errors.AsType[brokenError](err); broken && ctx.Err() == nil {
			if fruitless++; d.have > before {
				fruitless = 0
			}
			if fruitless < retries {
				continue
			}
		}
		if err != nil {
			return err
		}
	}
	if "sha256:"+hex.EncodeToString(d.hash.Sum(nil)) != d.artifact.Archive {
		return errors.Join(errOtherBytes, d.empty())
	}
	return nil
}

// readPresentBytes hashes what is in the file. A file longer than the archive is emptied.
func (d *download) readPresentBytes() (err error) {
	d.hash = sha256.New()
	if _, err = d.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if d.have, err = io.Copy(d.hash, d.file); err == nil && d.have > d.artifact.Size {
		err = d.empty()
	}
	return err
}

// empty makes the download begin anew.
func (d *download) empty() error {
	d.hash, d.have = sha256.New(), 0
	if err := d.file.Truncate(0); err != nil {
		return err
	}
	_, err := d.file.Seek(0, io.SeekStart)
	return err
}

// appendRest fetches what the file lacks. A registry that can't send a part sends the whole
// again. The error is a brokenError if the registry broke off.
func (d *download) appendRest(ctx context.Context, from content.Fetcher) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(d.silence, func() { cancel(errSilent) })
	defer silence.Stop()
	body, err := from.Fetch(ctx, d.artifact.layer)
	if err != nil {
		return causeOf(ctx, err)
	}
	defer func() { _ = body.Close() }()
	if d.have > 0 {
		seeker, can := body.(io.Seeker)
		if can {
			_, err = seeker.Seek(d.have, io.SeekStart)
		}
		if !can || err != nil {
			if err := d.empty(); err != nil {
				return err
			}
		}
		if err != nil {
			return brokenError{err}
		}
	}
	return d.copyBody(ctx, body, func() { silence.Reset(d.silence) })
}

// causeOf returns why the context has ended in place of err, which then only says that it has.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// copyBody appends the body to the file, up to the archive's size, and calls heard for each
// part.
func (d *download) copyBody(ctx context.Context, body io.Reader, heard func()) error {
	part := make([]byte, 64<<10)
	for d.have < d.artifact.Size {
		n, err := body.Read(part[:min(int64(len(part)), d.artifact.Size-d.have)])
		heard()
		if n > 0 {
			if _, werr := d.file.Write(part[:n]); werr != nil {
				return werr
			}
			d.hash.Write(part[:n])
			d.have += int64(n)
			if d.progress != nil {
				d.progress(d.have, d.artifact.Size)
			}
		}
		if err != nil && d.have < d.artifact.Size {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return brokenError{causeOf(ctx, err)}
		}
	}
	return nil
}
