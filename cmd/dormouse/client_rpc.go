package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// rpcPath is the path of all requests. It asks for the dialect R4, the only one that the
// client understands.
const rpcPath = "/jsonrpc?dialect=r4"

// remoteError is the JSON-RPC error that a host answered.
type remoteError struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// cause returns the cause that the host sent, "" if none.
func (e *remoteError) cause() string {
	var data struct {
		Cause string `json:"cause"`
	}
	_ = json.Unmarshal(e.Data, &data) // a plugin's own data may be anything
	return data.Cause
}

// Error returns the cause if the host sent one, since the messages are Thunder's.
func (e *remoteError) Error() string {
	if cause := e.cause(); cause != "" {
		return fmt.Sprintf("%s (error %d: %s)", cause, e.Code, strings.TrimRight(e.Message, "!."))
	}
	return fmt.Sprintf("%s (error %d)", strings.TrimRight(e.Message, "!."), e.Code)
}

// withoutBeginning returns err, without that beginning if a host has answered with err: for a
// caller that says the same itself.
func withoutBeginning(err error, beginning string) error {
	if remote, ok := errors.AsType[*remoteError](err); ok {
		return errors.New(strings.TrimPrefix(remote.Error(), beginning+": "))
	}
	return err
}

// call calls one method and returns its result. The error is a *remoteError if the host
// answered with one, wraps errUnreachable if no host answered, and is a *usageError if the
// address of the client is malformed.
func (c *client) call(ctx context.Context, method string, params any) (json.RawMessage, error) {
	request := struct {
		JSONRPC string `json:"jsonrpc"`
		ID      int    `json:"id"`
		Method  string `json:"method"`
		Params  any    `json:"params,omitempty"`
	}{"2.0", 1, method, params}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the host: %w", err)
	}
	for _, address := range c.addresses {
		if err := checkHostAddress(address); err != nil {
			return nil, &usageError{err: err}
		}
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url("http"), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("cannot ask the host: %w", err)
	}
	post.Header = c.header()
	post.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(post)
	if err != nil {
		return nil, c.noAnswerError(ctx, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, c.noAnswerError(ctx, err)
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  *remoteError    `json:"error"`
	}
	err = json.Unmarshal(text, &answer)
	switch refused := response.StatusCode == http.StatusForbidden || response.StatusCode == http.StatusUnauthorized; {
	case err != nil && refused:
		return nil, fmt.Errorf("the host at %s refuses: %s", c, strings.TrimSpace(string(text)))
	case err != nil && bytes.Contains(text, []byte("HTTPS server")):
		return nil, fmt.Errorf("the host at %s speaks TLS; name it %s%s", c, tlsPrefix, c)
	case err != nil:
		return nil, fmt.Errorf("cannot understand %s, is it a Dormouse host? It answered %s: %.200s",
			c, response.Status, strings.TrimSpace(string(text)))
	}
	switch {
	case answer.Error != nil && response.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("%w; this program sends the token in DORMOUSE_TOKEN", answer.Error)
	case answer.Error != nil:
		return nil, answer.Error
	}
	return answer.Result, nil
}

// noAnswerError returns the error for a request that got no answer because of err. It wraps
// errUnreachable if no connection was made.
func (c *client) noAnswerError(ctx context.Context, err error) error {
	unreachable, isUnreachable := errors.AsType[*unreachableError](err)
	unusable, isUnusable := errors.AsType[*credentialsError](err)
	untrusted, isUntrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, isPlain := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; what the host has begun it carries on")
	case isUnreachable:
		return fmt.Errorf("%w; start one with `%s serve`, or name another with --host", unreachable, os.Args[0])
	case isUnusable:
		return unusable
	case isUntrusted:
		return fmt.Errorf("cannot trust the host at %s: %w%s", c, innermostError(err), adviceOnTrust(untrusted))
	case isPlain:
		return fmt.Errorf("the host at %s has no TLS there; leave out %s", c, tlsPrefix)
	}
	return fmt.Errorf("the host at %s ended the connection without an answer: %w", c, innermostError(err))
}

// adviceOnTrust returns what the user can do about a host's certificate, "" if it is at fault
// itself.
func adviceOnTrust(err *tls.CertificateVerificationError) string {
	if _, isUnknown := errors.AsType[x509.UnknownAuthorityError](err); !isUnknown {
		return ""
	}
	return "; DORMOUSE_CA names the file of its authorities"
}

// innermostError returns the error at the end of the chain that err wraps.
func innermostError(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
