package oci

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"oras.land/oras-go/v2/registry/remote/retry"
)

// encryptedOnly refuses requests without TLS to hosts that are not named for that. It sees each
// hop of a redirect and the server that a registry names for tokens.
type encryptedOnly struct {
	next      http.RoundTripper
	plainHTTP []string
}

// notEncryptedError means that a request would go to the host without TLS.
type notEncryptedError struct{ host string }

func (e *notEncryptedError) Error() string {
	return fmt.Sprintf("%s is to be reached without encryption; if that is meant, add %q to plain-http in [packages]", e.host, e.host)
}

// RoundTrip is that of the next one, or returns a *notEncryptedError.
func (t *encryptedOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !slices.Contains(t.plainHTTP, r.URL.Host) {
		return nil, &notEncryptedError{r.URL.Host}
	}
	return t.next.RoundTrip(r)
}

// isWorthRepeating reports whether a request may have a better answer at once.
func isWorthRepeating(answer *http.Response, err error) (bool, error) {
	if _, refused := errors.AsType[*notEncryptedError](err); refused {
		return false, err
	}
	return retry.DefaultPredicate(answer, err)
}
