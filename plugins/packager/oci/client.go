package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// Limits of what is asked of a registry, and how long it may be silent. An answer other than an
// archive must be whole after answerTime.
const (
	maxTagPages   = 1000
	maxTags       = 100_000
	silentTime    = 30 * time.Second
	answerTime    = 2 * time.Minute
	retries       = 3
	longestPause  = 10 * time.Second
	shortestPause = 200 * time.Millisecond
)

// Options says how a Client reaches registries.
type Options struct {
	// PlainHTTP are the hosts that are reached without TLS, as in a Reference.
	PlainHTTP []string
	// Credentials is a file with logins, of the form of docker's config.json; "" for none.
	// Programs that it names are run to get a login.
	Credentials string
	// Login is used in place of the file, nil for none.
	Login *Login
	// UserAgent is the name of the program, with its version.
	UserAgent string
}

// Login is a user's name and password for one registry.
type Login struct{ Host, User, Password string }

// Client reaches registries. Any goroutine may use it.
type Client struct {
	plainHTTP []string
	http      *auth.Client
	transport *http.Transport
	silence   time.Duration // how long a registry may send nothing of an archive
	answers   time.Duration // how long all else may take
}

// NewClient returns a client. The error says that the credentials can't be read.
func NewClient(o Options) (*Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:errcheck // net/http documents the type
	transport.ResponseHeaderTimeout = silentTime
	repeating := retry.NewTransport(&encryptedOnly{next: transport, plainHTTP: o.PlainHTTP})
	repeating.Policy = func() retry.Policy {
		return &retry.GenericPolicy{
			Retryable: isWorthRepeating, Backoff: retry.DefaultBackoff,
			MinWait: shortestPause, MaxWait: longestPause, MaxRetry: retries,
		}
	}
	c := &Client{
		plainHTTP: o.PlainHTTP, transport: transport, silence: silentTime, answers: answerTime,
		http: &auth.Client{Client: &http.Client{Transport: repeating}, Cache: auth.NewCache()},
	}
	c.http.SetUserAgent(o.UserAgent)
	switch {
	case o.Login != nil:
		c.http.Credential = auth.StaticCredential(o.Login.Host, auth.Credential{Username: o.Login.User, Password: o.Login.Password})
	case o.Credentials != "":
		l, err := openLogins(o.Credentials)
		if err != nil {
			return nil, err
		}
		c.http.Credential = l.find
	}
	return c, nil
}

// Close ends connections that no request uses.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// repository returns the repository of a reference.
func (c *Client) repository(r Reference) *remote.Repository {
	return &remote.Repository{
		Client:             c.http,
		Reference:          registry.Reference{Registry: r.Host, Repository: r.Repository},
		PlainHTTP:          slices.Contains(c.plainHTTP, r.Host),
		ManifestMediaTypes: []string{ocispec.MediaTypeImageManifest},
	}
}

// Resolve returns the artifact that the reference names now. The error is written for an
// operator; it wraps ErrNotFound, ErrNotAllowed, ErrBusy or ErrNotAPackage if that is the
// cause.
func (c *Client) Resolve(ctx context.Context, r Reference) (Artifact, error) {
	if r.wanted() == "" {
		return Artifact{}, fmt.Errorf("cannot fetch %s: the reference has neither a tag nor a digest", r)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.answers, errSlow)
	defer cancel()
	repository := c.repository(r)
	manifest, err := repository.Resolve(ctx, r.wanted())
	if err != nil {
		return Artifact{}, explain("fetch", r, causeOf(ctx, err))
	}
	a, err := readArtifact(ctx, repository, manifest)
	if err != nil {
		return Artifact{}, explain("fetch", r, causeOf(ctx, err))
	}
	return a, nil
}

// Download appends to file what it lacks of the archive. If the file has a beginning, the
// download goes on there. When Download returns nil, the file has the archive's size and
// digest; a file with other bytes is emptied, so that the next Download begins anew. The file
// is not synced.
func (c *Client) Download(ctx context.Context, r Reference, a Artifact, file File, progress Progress) error {
	d := download{artifact: a, file: file, progress: progress, silence: c.silence}
	return explain("fetch", r, d.run(ctx, c.repository(r)))
}

// Push writes an archive into a repository, under the reference's tag.
func (c *Client) Push(ctx context.Context, r Reference, from io.ReadSeeker, l Label, progress Progress) (Artifact, error) {
	if r.Tag == "" || r.Digest != "" {
		return Artifact{}, fmt.Errorf("cannot push to %s: the reference must have a tag and no digest", r)
	}
	a, err := pushArtifact(ctx, c.repository(r), from, l, progress, r.Tag)
	if err != nil {
		return Artifact{}, explain("push to", r, err)
	}
	return a, nil
}

// Tags returns all tags of a repository, sorted. A repository that does not exist has none.
func (c *Client) Tags(ctx context.Context, r Reference) ([]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.answers, errSlow)
	defer cancel()
	var all []string
	pages := 0
	err := c.repository(r).Tags(ctx, "", func(tags []string) error {
		all = append(all, tags...)
		if pages++; pages >= maxTagPages || len(all) > maxTags {
			return errEndless
		}
		return nil
	})
	err = explain("list the tags of", r, causeOf(ctx, err))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
