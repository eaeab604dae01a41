package packager

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dormouse/configs"
)

// A web server that breaks off goes on where it was. What is too big, not encrypted, or a server
// that brings nothing is an error, and an address with a password is not used.
func TestWebServer(t *testing.T) {
	whole := bytes.Repeat([]byte("tick tock "), 100_000)
	var asked []string
	answer := func(http.ResponseWriter, *http.Request) bool { return false }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Range"))
		if !answer(w, r) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(whole))
		}
	}))
	defer server.Close()
	config := configs.Default().Packages
	config.PlainHTTP = []string{strings.TrimPrefix(server.URL, "http://")}
	cut := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") != "" {
			return false
		}
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(whole[:300_000])
		panic(http.ErrAbortHandler)
	}
	breaks := func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Length", "1000000")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for _, test := range []struct {
		name, address, want string
		answer              func(http.ResponseWriter, *http.Request) bool
		maxSize             configs.Bytes
	}{
		{"it is cut", server.URL, "", cut, 1 << 20},
		{"it breaks off each time", server.URL, "EOF", breaks, 1 << 20},
		{"it is too big", server.URL, "max-size", answer, 1000},
		{"a redirect", server.URL, "not encrypted", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
			return true
		}, 1 << 20},
		{"not found", server.URL, "404", func(w http.ResponseWriter, r *http.Request) bool {
			http.NotFound(w, r)
			return true
		}, 1 << 20},
		{"a password", strings.Replace(server.URL, "//", "//me:s3cret@", 1), "must not hold a password", answer, 1 << 20},
		{"plain http", "http://127.0.0.1:1/x", "plain-http", answer, 1 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer, asked = test.answer, nil
			config.MaxSize = test.maxSize
			remote, err := newRegistries(config, "v1.0.0")
			if err != nil {
				t.Fatal(err)
			}
			defer remote.close()
			file, err := os.Create(filepath.Join(t.TempDir(), "archive"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			err = remote.fetch(t.Context(), test.address, "", file, func(int64, int64) {})
			http.DefaultTransport.(*http.Transport).CloseIdleConnections() //nolint:errcheck // net/http documents the type
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") || errors.Is(err, os.ErrNotExist) {
					t.Errorf("the error is %v, want one with %q", err, test.want)
				}
				return
			}
			if got, rerr := os.ReadFile(file.Name()); err != nil || rerr != nil || !bytes.Equal(got, whole) || asked[1] != "bytes=300000-" {
				t.Errorf("%v, %v; %d bytes, asked for %q", err, rerr, len(got), asked)
			}
		})
	}
}
