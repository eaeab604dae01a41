package oci

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Causes of errors, so that a caller can tell them apart.
var (
	// ErrNotFound means that the registry has no such artifact.
	ErrNotFound = errors.New("the registry has no such artifact")
	// ErrNotAllowed means that the registry wants other credentials.
	ErrNotAllowed = errors.New("the registry does not allow it")
	// ErrBusy means that the registry refuses because of too many requests.
	ErrBusy = errors.New("the registry is asked too often")
	// ErrUnreachable means that the registry does not answer.
	ErrUnreachable = errors.New("the registry does not answer")
)

// explain returns the error of an access to a registry, written for an operator; nil for
// nil.
func explain(verb string, r Reference, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot %s %s: %w", verb, r, withCause(r, err))
}

// withCause adds what the operator can do, and the cause if it is one of this package's.
func withCause(r Reference, err error) error {
	if answer, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		return fmt.Errorf("%w: %s", causeOfStatus(r, answer.StatusCode), answerText(answer))
	}
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	refused, isRefused := errors.AsType[*notEncryptedError](err)
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case isRefused:
		return refused
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return causeOfStatus(r, http.StatusUnauthorized)
	case errors.Is(err, errdef.ErrNotFound):
		return fmt.Errorf("%w; look at the name and the tag", ErrNotFound)
	case plain, strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // net/http has no other sign
		return fmt.Errorf("%w over TLS: it speaks plain HTTP; if that is meant, add %q to plain-http in [packages]", ErrUnreachable, r.Host)
	case isNetworkError(err):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return err
}

// isNetworkError reports whether the registry could not be asked.
func isNetworkError(err error) bool {
	_, is := errors.AsType[net.Error](err)
	return is || errors.Is(err, errSilent) || errors.Is(err, errSlow)
}

// causeOfStatus returns what an HTTP status of a registry means.
func causeOfStatus(r Reference, status int) error {
	switch status {
	case http.StatusNotFound:
		return fmt.Errorf("%w; look at the name and the tag", ErrNotFound)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w (%d); put a login for %s into the file that credentials in [packages] names", ErrNotAllowed, status, r.Host)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%w (429); try again later", ErrBusy)
	}
	if status >= http.StatusInternalServerError {
		return fmt.Errorf("%w but with an error (%d)", ErrUnreachable, status)
	}
	return fmt.Errorf("the registry refuses (%d)", status)
}

// answerText returns the registry's own words, made harmless and short.
func answerText(answer *errcode.ErrorResponse) string {
	const longest = 200
	text := fmt.Sprintf("%.*q", longest, answer.Errors.Error())
	if len(answer.Errors) == 0 {
		return http.StatusText(answer.StatusCode)
	}
	return text
}

// isAlreadyThere reports whether a push failed only since the same bytes are there.
func isAlreadyThere(err error) bool { return errors.Is(err, errdef.ErrAlreadyExists) }
