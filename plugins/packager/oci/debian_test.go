package oci

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/hibernate/hibernatetest"
	"dormouse/plugins/packager/oci/ocitest"
)

// newClientFor returns a client that reaches the host without TLS.
func newClientFor(t *testing.T, host, credentials string) *Client {
	t.Helper()
	c, err := NewClient(Options{PlainHTTP: []string{host}, Credentials: credentials})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// skopeo runs skopeo, which must succeed.
func skopeo(t *testing.T, args ...string) {
	t.Helper()
	hibernatetest.RequireProgram(t, "skopeo")
	out, err := exec.CommandContext(t.Context(), "skopeo", append([]string{"--insecure-policy"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// A package goes through Debian's registry and through skopeo into a layout and back, and stays
// the same artifact. After the registry was killed a download goes on.
func TestDebianRegistry(t *testing.T) {
	dir := t.TempDir()
	host, kill := ocitest.StartDebian(t, dir, "127.0.0.1:0", "")
	c := newClientFor(t, host, "")
	r := Reference{Host: host, Repository: "apps/clock", Tag: "1.2.3_4"}
	pushed, err := c.Push(t.Context(), r, bytes.NewReader(clock), clockLabel, nil)
	if err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(dir, "layout")
	skopeo(t, "copy", "--src-tls-verify=false", "docker://"+host+"/apps/clock:1.2.3_4", "oci:"+layout+":clock")
	l, err := OpenLayout(layout)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := l.Resolve(t.Context(), "clock"); err != nil || a.Manifest != pushed.Manifest || a.Label != clockLabel {
		t.Fatalf("skopeo's layout has %+v, %v", a, err)
	}
	skopeo(t, "copy", "--dest-tls-verify=false", "oci:"+layout+":clock", "docker://"+host+"/apps/copy:1")
	copied := Reference{Host: host, Repository: "apps/copy", Tag: "1"}
	a, err := c.Resolve(t.Context(), copied)
	if err != nil || a.Manifest != pushed.Manifest {
		t.Fatalf("what skopeo pushed is %+v, %v", a, err)
	}
	kill()
	file := newFile(t, clock[:300_000])
	if err := c.Download(t.Context(), copied, a, file, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("without the registry: %v", err)
	}
	ocitest.StartDebian(t, dir, host, "")
	if err := c.Download(t.Context(), copied, a, file, nil); err != nil || !bytes.Equal(contents(t, file), clock) {
		t.Errorf("with the registry again: %v", err)
	}
	if _, err := c.PublishWish(t.Context(), Reference{Host: host, Repository: "central"}, Wish{
		Package: "clock", Reference: Reference{Host: host, Repository: "apps/clock", Digest: pushed.Manifest},
	}); err != nil {
		t.Fatal(err)
	}
	if wishes, err := c.Wishes(t.Context(), Reference{Host: host, Repository: "central"}); err != nil || wishes["clock"].Reference.Digest != pushed.Manifest {
		t.Errorf("%v, %v", wishes, err)
	}
}

// A registry with passwords takes those in docker's file, and no error shows them.
func TestDebianRegistryWithPasswords(t *testing.T) {
	dir := t.TempDir()
	host, _ := ocitest.StartDebian(t, dir, "127.0.0.1:0", ocitest.Passwords(t, dir, "me", "s3cret"))
	login := func(password string) string {
		file := filepath.Join(t.TempDir(), "config.json")
		text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("me:"+password)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	r := Reference{Host: host, Repository: "apps/clock", Tag: "1"}
	for _, file := range []string{"", login("wr0ng")} {
		_, err := newClientFor(t, host, file).Push(t.Context(), r, bytes.NewReader(clock), clockLabel, nil)
		if !errors.Is(err, ErrNotAllowed) || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("with %q: %v", file, err)
		}
	}
	c := newClientFor(t, host, login("s3cret"))
	if _, err := c.Push(t.Context(), r, bytes.NewReader(clock), clockLabel, nil); err != nil {
		t.Fatal(err)
	}
	a, err := c.Resolve(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	file := newFile(t, nil)
	if err := c.Download(t.Context(), r, a, file, nil); err != nil || !bytes.Equal(contents(t, file), clock) {
		t.Error(err)
	}
}
