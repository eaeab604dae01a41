package oci

import (
	"testing"

	"dormouse/plugins/packager/oci/ocitest"
)

// fakeRegistry is a registry in the test's process with the repository "apps/clock".
type fakeRegistry struct{ *ocitest.Registry }

// newRegistry starts an empty registry.
func newRegistry(t *testing.T) *fakeRegistry {
	t.Helper()
	return &fakeRegistry{ocitest.New(t)}
}

// reference returns the reference of a tag in the repository "apps/clock".
func (f *fakeRegistry) reference(tag string) Reference {
	return Reference{Host: f.Host(), Repository: "apps/clock", Tag: tag}
}

// client returns a client that reaches the registry.
func (f *fakeRegistry) client(t *testing.T, o Options) *Client {
	t.Helper()
	o.PlainHTTP = append(o.PlainHTTP, f.Host())
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
