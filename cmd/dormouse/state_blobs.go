package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// blobURL returns the URL of a blob.
func (c *client) blobURL(owner, name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return c.urlOf("http", "/Service/State/"+url.PathEscape(owner)+"/blobs/"+strings.Join(parts, "/"))
}

// blobHeaders is what is said of a blob that is put.
type blobHeaders struct {
	contentType string
	revision    string // that the present one must have, "0" for none; empty for any
	sha256      []byte // nil for one that is not known
	size        int64
	isSizeKnown bool
}

// putBlob puts a blob, and closes from.
func (c *client) putBlob(ctx context.Context, owner, name string, from io.ReadCloser, h blobHeaders) (made stateBlob, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, c.blobURL(owner, name), from)
	if err != nil {
		return made, err
	}
	request.Header = c.header()
	request.Header.Set("Content-Type", h.contentType)
	if h.contentType == "" {
		request.Header.Set("Content-Type", "application/octet-stream")
	}
	switch h.revision {
	case "":
	case "0":
		request.Header.Set("If-None-Match", "*")
	default:
		request.Header.Set("If-Match", `"`+h.revision+`"`)
	}
	if h.sha256 != nil {
		request.Header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(h.sha256)+":")
	}
	request.ContentLength = -1
	if h.isSizeKnown {
		request.ContentLength = h.size
		if h.size == 0 {
			request.Body = http.NoBody
		}
	}
	response, err := c.do(ctx, request)
	if err != nil {
		return made, err
	}
	defer response.Body.Close()
	err = json.NewDecoder(response.Body).Decode(&made)
	return made, err
}

// getBlob writes a blob to a writer. The error says so if it did not come as it was put.
func (c *client) getBlob(ctx context.Context, owner, name string, to io.Writer) error {
	response, err := c.openBlob(ctx, owner, name)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return copyAndVerify(to, response)
}

// openBlob asks for a blob. The caller must close the body of the response.
func (c *client) openBlob(ctx context.Context, owner, name string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.blobURL(owner, name), nil)
	if err != nil {
		return nil, err
	}
	request.Header = c.header()
	return c.do(ctx, request)
}

// copyAndVerify copies the body of a response, and compares it with its Repr-Digest.
func copyAndVerify(to io.Writer, response *http.Response) error {
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(to, sum), response.Body); err != nil {
		return err
	}
	wanted := sumOf(response)
	if got := hex.EncodeToString(sum.Sum(nil)); got != wanted {
		return fmt.Errorf("the disk has damaged it: its SHA-256 is %s, and was %s", got, wanted)
	}
	return nil
}

// sumOf returns the SHA-256 in the header Repr-Digest, in hexadecimal; empty for none.
func sumOf(response *http.Response) string {
	encoded := strings.TrimPrefix(response.Header.Get("Repr-Digest"), "sha-256=:")
	sum, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(encoded, ":"))
	if err != nil {
		return ""
	}
	return hex.EncodeToString(sum)
}

// do sends a request to the host. The error has the text of an answer that is not a success.
func (c *client) do(ctx context.Context, request *http.Request) (*http.Response, error) {
	for _, address := range c.addresses {
		if err := checkHostAddress(address); err != nil {
			return nil, &usageError{err: err}
		}
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.noAnswerError(ctx, err)
	}
	if response.StatusCode < http.StatusMultipleChoices {
		return response, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return nil, c.noAnswerError(ctx, err)
	}
	return nil, fmt.Errorf("%s (%s)", strings.TrimSpace(string(text)), response.Status)
}
