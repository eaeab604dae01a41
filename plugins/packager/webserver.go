package packager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// silentTime is how long a web server may be silent, and webTries how often one that breaks off
// may do so in turn without having sent anything.
const (
	silentTime = 30 * time.Second
	webTries   = 3
)

// errSilent means that a web server sent nothing for silentTime.
var errSilent = fmt.Errorf("the server sends nothing for %s", silentTime)

// brokenOffError means that a web server broke off; the download may go on.
type brokenOffError struct{ error }

func (e *brokenOffError) Unwrap() error { return e.error }

// download appends to file what it lacks of the archive that a web server has, if the server can
// go on there; else it begins anew.
func (r *registries) download(ctx context.Context, source string, file File, progress func(done, total int64)) error {
	u, err := url.Parse(source)
	if err != nil {
		return err
	}
	if u.User != nil {
		return fmt.Errorf("%w: an address must not hold a password", ErrRefused)
	}
	if err := r.checkEncrypted(u); err != nil {
		return err
	}
	for fruitless := 0; ; {
		before, err := file.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		err = r.downloadRest(ctx, source, file, before, progress)
		if _, broken := errors.AsType[*brokenOffError](err); !broken || ctx.Err() != nil {
			return err
		}
		if after, serr := file.Seek(0, io.SeekEnd); serr == nil && after > before {
			fruitless = 0
		} else if fruitless++; fruitless >= webTries {
			return fmt.Errorf("cannot fetch the package: %w", err)
		}
	}
}

// checkEncrypted refuses an address that is not encrypted, unless its host is named for that.
func (r *registries) checkEncrypted(u *url.URL) error {
	if u.Scheme != "https" && !slices.Contains(r.plainHTTP, u.Host) {
		return fmt.Errorf("%w: %s is not encrypted; if that is meant, add %q to plain-http in [packages]", ErrRefused, u.Redacted(), u.Host)
	}
	return nil
}

// downloadRest fetches what follows the first have bytes. The error may be a *brokenOffError.
func (r *registries) downloadRest(ctx context.Context, source string, file File, have int64, progress func(done, total int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(silentTime, func() { cancel(errSilent) })
	defer silence.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return err
	}
	if have > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	client := http.Client{CheckRedirect: func(to *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("it redirects too often")
		}
		return r.checkEncrypted(to.URL)
	}}
	answer, err := client.Do(request)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("cannot fetch the package: %w", err)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusPartialContent && have > 0:
	case answer.StatusCode == http.StatusOK:
		have = 0
		if err := emptyFile(file); err != nil {
			return err
		}
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0:
		return nil // it was whole
	default:
		return fmt.Errorf("cannot fetch %s: the server answers %s", source, answer.Status)
	}
	total := int64(0)
	if answer.ContentLength >= 0 {
		total = have + answer.ContentLength
	}
	if err := r.checkSize(total); err != nil {
		return err
	}
	body := &countedReader{ctx: ctx, from: io.LimitReader(answer.Body, r.maxSize+1-have), done: have, total: total, told: func(done, total int64) {
		silence.Reset(silentTime)
		progress(done, total)
	}}
	copied, err := io.Copy(file, body)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return &brokenOffError{err}
	}
	return r.checkSize(have + copied)
}
