package faults

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// door is an address that leads to one host after another. Between two hosts it answers 502.
type door struct {
	url string

	mu   sync.Mutex
	host *host
}

// newDoor returns one that ends with the test.
func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Transport: &http.Transport{DisableKeepAlives: true},
		ErrorLog:  log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(d.behind())
			r.Out.Host = r.In.Host
		},
	})
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// lead has the door lead to a host.
func (d *door) lead(h *host) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.host = h
}

// behind returns where the host listens.
func (d *door) behind() *url.URL {
	d.mu.Lock()
	defer d.mu.Unlock()
	u, err := url.Parse(strings.TrimSuffix(d.host.url(), "/jsonrpc"))
	if err != nil {
		panic(err) // hosts have addresses
	}
	return u
}
