package oci

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dormouse/plugins/packager/oci/ocitest"
)

// loginFile writes a file of docker's form with one login.
func loginFile(t *testing.T, host, user, password string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// expectError expects an error with the text, which may wrap is.
func expectError(t *testing.T, err, is error, text string) {
	t.Helper()
	if err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), text) {
		t.Errorf("the error is %v, want one with %q", err, text)
	}
}

// Bytes that an earlier download has left of another archive are fetched anew.
func TestWrongBeginning(t *testing.T) {
	f := newRegistry(t)
	c := f.client(t, Options{})
	a := f.push(t, c)
	file := newFile(t, bytes.Repeat([]byte("x"), 1000))
	if err := c.Download(t.Context(), f.reference("1"), a, file, nil); err != nil || !bytes.Equal(contents(t, file), clock) {
		t.Error(err)
	}
}

// An artifact that is no package, or too big a manifest, is an error that says so.
func TestOtherArtifacts(t *testing.T) {
	f := newRegistry(t)
	c := f.client(t, Options{})
	f.push(t, c)
	pushed := f.Tag("apps/clock", "1.2.3_4")
	for tag, raw := range map[string][]byte{
		"index":   []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`),
		"image":   []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`),
		"huge":    append([]byte(`{"x":"`+strings.Repeat("x", maxManifest)), pushed...),
		"broken":  []byte("{"),
		"foreign": bytes.ReplaceAll(pushed, []byte("sha256:"), []byte("sha512:")),
	} {
		f.Manifest("apps/clock", tag, raw)
	}
	for tag, want := range map[string]string{
		"index": "not a package", "image": "not a package", "huge": "at most 1048576 are read", "broken": "cannot read the manifest", "foreign": "",
	} {
		_, err := c.Resolve(t.Context(), f.reference(tag))
		expectError(t, err, nil, want)
	}
}

// A registry that hangs, or never ends its answer, is given up.
func TestSilence(t *testing.T) {
	f := newRegistry(t)
	c := f.client(t, Options{})
	c.silence, c.answers = 100*time.Millisecond, 100*time.Millisecond
	a := f.push(t, c)
	ended := make(chan struct{})
	defer close(ended)
	hang := func(kind string) {
		f.Before(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, kind) || r.Method == http.MethodHead {
				return false
			}
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			if strings.Contains(r.URL.Path, "/blobs/") {
				w.Header().Set("Content-Length", "1000002")
			}
			_, _ = w.Write(clock[:100])
			_ = http.NewResponseController(w).Flush()
			<-ended
			return true
		})
	}
	defer f.Before(nil)
	hang("/blobs/")
	expectError(t, c.Download(t.Context(), f.reference("1"), a, newFile(t, nil), nil), ErrUnreachable, "sends nothing any more")
	hang("/manifests/")
	_, err := c.Resolve(t.Context(), f.reference("1.2.3_4"))
	expectError(t, err, ErrUnreachable, "in time")
}

// Pages of tags without end are given up.
func TestEndlessTags(t *testing.T) {
	f := newRegistry(t)
	c := f.client(t, Options{})
	pages := 0
	f.Before(func(w http.ResponseWriter, r *http.Request) bool {
		pages++
		w.Header().Set("Link", fmt.Sprintf("<%s?last=%d>; rel=\"next\"", r.URL.Path, pages))
		_ = json.NewEncoder(w).Encode(map[string]any{"name": "x", "tags": []string{fmt.Sprint(pages)}})
		return true
	})
	_, err := c.Tags(t.Context(), f.reference(""))
	expectError(t, err, errEndless, "tags")
	if pages != maxTagPages {
		t.Errorf("%d pages were read", pages)
	}
}

// A registry that is busy is asked again after the time that it names, and a few times only.
func TestBusy(t *testing.T) {
	f := newRegistry(t)
	c := f.client(t, Options{})
	f.push(t, c)
	asked, busy := 0, 2
	var begun time.Time
	f.Before(func(w http.ResponseWriter, _ *http.Request) bool {
		if asked++; asked > busy {
			return false
		}
		begun = time.Now()
		w.Header().Set("Retry-After", "1")
		ocitest.Refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS")
		return true
	})
	busy = 1
	if _, err := c.Resolve(t.Context(), f.reference("1.2.3_4")); err != nil || time.Since(begun) < 900*time.Millisecond {
		t.Errorf("%v, after %s", err, time.Since(begun))
	}
	for status, is := range map[int]error{http.StatusTooManyRequests: ErrBusy, http.StatusServiceUnavailable: ErrUnreachable} {
		asked = 0
		f.Before(func(w http.ResponseWriter, _ *http.Request) bool {
			asked++
			ocitest.Refuse(w, status, "NO")
			return true
		})
		_, err := c.Resolve(t.Context(), f.reference("1.2.3_4"))
		expectError(t, err, is, fmt.Sprint(status))
		if asked != 1+retries {
			t.Errorf("it was asked %d times", asked)
		}
	}
}

// The login for a registry goes to no other host: not after a redirect, not if that asks for it,
// and not to one without TLS that is not named.
func TestLoginStaysWithItsHost(t *testing.T) {
	f := newRegistry(t)
	pushed := f.push(t, f.client(t, Options{}))
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:s3cret"))
	var seen []string
	status := http.StatusOK
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		if status != http.StatusOK {
			w.Header().Set("WWW-Authenticate", `Basic realm="other"`)
			w.WriteHeader(status)
			return
		}
		_, _ = w.Write(clock)
	}))
	defer other.Close()
	f.Before(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Header.Get("Authorization") != want:
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, other.URL+"/blob", http.StatusTemporaryRedirect)
		default:
			return false
		}
		return true
	})
	login := Options{Credentials: loginFile(t, f.Host(), "me", "s3cret")}
	err := f.client(t, login).Download(t.Context(), f.reference("1"), pushed, newFile(t, nil), nil)
	expectError(t, err, nil, "without encryption")
	if len(seen) != 0 {
		t.Error("the other host was reached without TLS")
	}
	login.PlainHTTP = []string{strings.TrimPrefix(other.URL, "http://")}
	c := f.client(t, login)
	if err := c.Download(t.Context(), f.reference("1"), pushed, newFile(t, nil), nil); err != nil {
		t.Error(err)
	}
	status = http.StatusUnauthorized
	err = c.Download(t.Context(), f.reference("1"), pushed, newFile(t, nil), nil)
	expectError(t, err, nil, "")
	if len(seen) < 2 || strings.Join(seen, "") != "" {
		t.Errorf("the other host got %q", seen)
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

// The logins are found where the operator, systemd or docker has put them, in this order.
func TestCredentialsFile(t *testing.T) {
	dir := t.TempDir()
	systemd, docker := filepath.Join(dir, CredentialName), filepath.Join(dir, ".docker", "config.json")
	if err := os.Mkdir(filepath.Dir(docker), 0o700); err != nil {
		t.Fatal(err)
	}
	getenv := func(name string) string { return map[string]string{"CREDENTIALS_DIRECTORY": dir, "HOME": dir}[name] }
	if got := CredentialsFile("", getenv); got != "" {
		t.Errorf("without any: %q", got)
	}
	for _, path := range []string{docker, systemd} {
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := CredentialsFile("", getenv); got != path {
			t.Errorf("%q, want %q", got, path)
		}
	}
	if got := CredentialsFile("/mine", getenv); got != "/mine" {
		t.Errorf("%q", got)
	}
	if _, err := NewClient(Options{Credentials: "/nowhere/config.json"}); err == nil {
		t.Error("a configured file that is missing is no error")
	}
}

// Offers name the packages of a catalogue, with their versions.
func TestOffers(t *testing.T) {
	f := newRegistry(t)
	c := f.client(t, Options{})
	catalogue := Reference{Host: f.Host(), Repository: "apps"}
	f.push(t, c)
	for _, o := range []Offer{{Package: "radio"}, {Package: "clock", Description: "old"}, {Package: "clock", Description: "tells the time"}} {
		if err := c.PublishOffer(t.Context(), catalogue, o); err != nil {
			t.Fatal(err)
		}
	}
	offers, err := c.Offers(t.Context(), catalogue)
	if err != nil || fmt.Sprint(offers) != "[{clock tells the time [1.2.3_4]} {radio  []}]" {
		t.Errorf("%v, %v", offers, err)
	}
}
