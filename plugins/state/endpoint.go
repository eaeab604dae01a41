package state

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"dormouse/shell"
)

// Endpoint answers requests for blobs at OWNER/blobs/NAME, with the methods GET, HEAD, PUT and
// DELETE.
func (b *backend) Endpoint(httpMethod, path string) (shell.Endpoint, bool) {
	owner, name, ok := strings.Cut(path, "/blobs/")
	if !ok || owner == "" || strings.Contains(owner, "/") || checkBlobName(name) != nil {
		return shell.Endpoint{}, false
	}
	about := blobRequest{b.State, owner, name}
	switch httpMethod {
	case http.MethodGet, http.MethodHead:
		return shell.Endpoint{Handler: http.HandlerFunc(about.get), Needs: readsBlob}, true
	case http.MethodPut:
		// The quotas bound the body, and say what is left.
		return shell.Endpoint{Handler: http.HandlerFunc(about.put), Needs: writesBlob, MaxBody: math.MaxInt64, Memory: putPart}, true
	case http.MethodDelete:
		return shell.Endpoint{Handler: http.HandlerFunc(about.delete), Needs: writesBlob}, true
	}
	return shell.Endpoint{}, false
}

// blobRequest answers the requests for one blob.
type blobRequest struct {
	state       *State
	owner, name string
}

// putPart is how many bytes of a body are read at once.
const putPart = 256 << 10

// get answers with the blob, or a part of it as the header Range asks. The ETag is the revision.
func (b blobRequest) get(w http.ResponseWriter, r *http.Request) {
	opened, err := b.state.OpenBlob(r.Context(), b.owner, b.name)
	if err != nil {
		respondError(w, err)
		return
	}
	defer opened.Close()
	setBlobHeaders(w, opened.Blob)
	w.Header().Set("Content-Type", opened.ContentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "sandbox") // what a plugin keeps is no page of ours
	http.ServeContent(w, r, "", opened.Changed, opened.File)
}

// put makes the body the blob. If-Match and If-None-Match name the revision that is replaced,
// and Content-Digest the SHA-256 that the body must have.
func (b blobRequest) put(w http.ResponseWriter, r *http.Request) {
	made, isNew, err := b.receive(r)
	if err != nil {
		respondError(w, err)
		return
	}
	setBlobHeaders(w, made)
	w.Header().Set("Content-Type", "application/json")
	if isNew {
		w.WriteHeader(http.StatusCreated)
	}
	_ = json.NewEncoder(w).Encode(blobRecordOf(made))
}

// receive receives the blob that is the body of a request.
func (b blobRequest) receive(r *http.Request) (made Blob, isNew bool, err error) {
	ctx := r.Context()
	if err := b.state.checkOwner(ctx, b.owner, true); err != nil {
		return Blob{}, false, err
	}
	start := UploadStart{Name: b.name, ContentType: r.Header.Get("Content-Type")}
	if r.ContentLength >= 0 {
		start.Size = &r.ContentLength
	}
	if start.If, err = revisionFromHeaders(r.Header); err != nil {
		return Blob{}, false, err
	}
	if start.SHA256, err = digestFromHeader(r.Header.Get("Content-Digest")); err != nil {
		return Blob{}, false, err
	}
	u, err := b.state.NewUpload(ctx, b.owner, start)
	if err != nil {
		return Blob{}, false, err
	}
	defer u.Discard()
	if _, err := io.CopyBuffer(onlyWriter{u}, r.Body, make([]byte, putPart)); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: the body broke off", ErrIncomplete)
		}
		return Blob{}, false, err
	}
	made, err = u.Finish(ctx)
	return made, u.isNew, err
}

// onlyWriter hides all of a writer but Write, so that io.CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }

// delete deletes the blob: 204, also if there is none.
func (b blobRequest) delete(w http.ResponseWriter, r *http.Request) {
	wanted, err := revisionFromHeaders(r.Header)
	if err == nil {
		_, _, err = b.state.DeleteBlob(r.Context(), b.owner, b.name, wanted)
	}
	if err != nil {
		respondError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// setBlobHeaders says what the blob is: its revision as the ETag, and its SHA-256.
func setBlobHeaders(w http.ResponseWriter, b Blob) {
	w.Header().Set("ETag", strconv.Quote(strconv.FormatInt(b.Revision, 10)))
	w.Header().Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(b.SHA256[:])+":")
}

// revisionFromHeaders returns the revision that a request asks for: that in If-Match, or 0 for
// If-None-Match: *; nil for any.
func revisionFromHeaders(h http.Header) (*int64, error) {
	if text := h.Get("If-None-Match"); text != "" {
		if text != "*" {
			return nil, fmt.Errorf(`%w: If-None-Match can only be "*" here`, ErrInvalid)
		}
		return new(int64), nil
	}
	text := h.Get("If-Match")
	if text == "" {
		return nil, nil //nolint:nilnil // any revision
	}
	n, err := strconv.ParseInt(strings.Trim(text, `"`), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: If-Match is not the ETag of a blob", ErrInvalid)
	}
	return &n, nil
}

// digestFromHeader returns the SHA-256 in a header as RFC 9530 has it, nil for none.
func digestFromHeader(text string) ([]byte, error) {
	for field := range strings.SplitSeq(text, ",") {
		encoded, ok := strings.CutPrefix(strings.TrimSpace(field), "sha-256=:")
		if !ok {
			continue
		}
		sum, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(encoded, ":"))
		if err != nil {
			return nil, fmt.Errorf("%w: Content-Digest has no SHA-256 in base64", ErrInvalid)
		}
		return sum, nil
	}
	return nil, nil
}

// respondError answers with the status and the text of the error, and with when to try again.
func respondError(w http.ResponseWriter, err error) {
	answers.To(err).WriteHTTP(w, err)
}
