package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dormouse/plugins/packager/oci/ocitest"
)

// counterArchive makes an archive of the package "counter", whose plugin is the example, signed
// by a private key unless that is "".
func counterArchive(t *testing.T, version, private string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "counter")
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(examples, "counter"))
	if err != nil {
		t.Fatal(err)
	}
	manifest := fmt.Sprintf("name = \"counter\"\nversion = %q\ndescription = \"Counts.\"\n[program]\nlinux-amd64 = \"bin/counter\"\nlinux-arm64 = \"bin/counter\"\n"+
		"[[instance]]\ncallsign = \"Counter\"\nstart-mode = \"activated\"\n", version)
	for name, text := range map[string][]byte{"plugin.toml": []byte(manifest), "bin/counter": program} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(filepath.Dir(dir), "counter-"+version+".tar.zst")
	dormouse(t, nil, "package", "build", dir, "-o", file).expect(t, exitDone)
	if private != "" {
		runWithInput(t, "", "package", "sign", file, "-k", private).expect(t, exitDone)
	}
	return file
}

// pushed pushes an archive and returns its reference with the digest.
func pushed(t *testing.T, file, reference string, flags ...string) string {
	t.Helper()
	r := dormouse(t, nil, append([]string{"package", "push", file, reference, "--plain-http", "-o", "json"}, flags...)...).expect(t, exitDone)
	var record pushRecord
	if err := json.Unmarshal([]byte(r.out), &record); err != nil {
		t.Fatal(err)
	}
	return record.Reference
}

// ask calls a method of the host.
func (h *testHost) ask(t *testing.T, method string, params, result any) error {
	t.Helper()
	raw, err := newClient(h.address).call(t.Context(), method, params)
	if err == nil && result != nil {
		err = json.Unmarshal(raw, result)
	}
	return err
}

// startPackageHost starts a host and returns when its Packager answers.
func startPackageHost(t *testing.T, root, configuration string) *testHost {
	t.Helper()
	h := startHost(t, root, configuration)
	for late := time.Now().Add(testPatience); h.ask(t, "Packager.list", nil, nil) != nil; <-time.After(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("the Packager does not answer; the log is:\n%s", h.log)
		}
	}
	return h
}

// packageView is what the tests read of Packager.show.
type packageView struct {
	Status, Phase, Version, Reason string
	Operation                      *struct{ Done, Total int64 }
}

// untilPackage returns the package counter once ok is true of it.
func (h *testHost) untilPackage(t *testing.T, what string, ok func(packageView) bool) (p packageView) {
	t.Helper()
	for late := time.Now().Add(testPatience); ; <-time.After(20 * time.Millisecond) {
		p = packageView{}
		err := h.ask(t, "Packager.show", map[string]any{"package": "counter"}, &p)
		if err == nil && ok(p) {
			return p
		}
		if time.Now().After(late) {
			t.Fatalf("%s: it is %+v, %v; the log is:\n%s", what, p, err, h.log)
		}
	}
}

// settled returns the package once no operation on it is under way.
func (h *testHost) settled(t *testing.T) packageView {
	t.Helper()
	return h.untilPackage(t, "the operation to end", func(p packageView) bool { return p.Phase == "" && p.Status != "PENDING" })
}

func (h *testHost) install(t *testing.T, source string) packageView {
	t.Helper()
	if err := h.ask(t, "Packager.install", map[string]any{"package": source}, nil); err != nil {
		t.Fatal(err)
	}
	return h.settled(t)
}

// loginFileFor writes a file of docker's form.
func loginFileFor(t *testing.T, host, login string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(login)))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A download that is cut when the host is killed goes on where it was with the next host.
func TestDownloadGoesOnAfterKill(t *testing.T) {
	f := ocitest.New(t)
	reference := pushed(t, counterArchive(t, "1.0.0", ""), "oci://"+f.Host()+"/apps/counter")
	release := make(chan struct{})
	var slow atomic.Bool
	slow.Store(true)
	f.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if !slow.Load() || r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		whole := f.Blob(r.URL.Path)
		w.Header().Set("Content-Length", fmt.Sprint(len(whole)))
		w.Header().Set("Accept-Ranges", "bytes")
		_, _ = w.Write(whole[:len(whole)/2])
		_ = http.NewResponseController(w).Flush()
		<-release
		return true
	})
	t.Cleanup(func() { close(release) })
	root := t.TempDir()
	config := fmt.Sprintf("[packages]\nunsigned = \"always\"\nplain-http = [%q]\ntrial = \"1s\"\n", f.Host())
	first := startPackageHost(t, root, config)
	if err := first.ask(t, "Packager.install", map[string]any{"package": reference}, nil); err != nil {
		t.Fatal(err)
	}
	p := first.untilPackage(t, "half of it", func(p packageView) bool {
		return p.Operation != nil && p.Operation.Done > 0 && p.Operation.Done >= p.Operation.Total/2
	})
	if p.Phase != "fetching" || p.Operation.Total == 0 {
		t.Errorf("%+v", p)
	}
	_ = first.cmd.Process.Kill()
	<-first.exited
	slow.Store(false)
	f.Asked("")
	second := startPackageHost(t, root, config)
	if p := second.settled(t); p.Status != "INSTALLED" || p.Version != "1.0.0" {
		t.Errorf("%+v", p)
	}
	want := fmt.Sprintf("bytes=%d-", p.Operation.Total/2)
	asked := f.Asked("GET /v2/apps/counter/blobs/")
	if len(asked) == 0 || !strings.Contains(asked[len(asked)-1], want) {
		t.Errorf("the registry was asked for %q, want %s", asked, want)
	}
}

// Whatever a registry does, the old version stays installed, and the reason is told. A login is
// used and shown nowhere. What is not signed by a key of the host's is refused.
func TestHostileRegistry(t *testing.T) {
	private, public := keyPair(t, "")
	other, _ := keyPair(t, "")
	f := ocitest.New(t)
	base := "oci://" + f.Host() + "/apps/counter"
	pushed(t, counterArchive(t, "1.0.0", private), base)
	pushed(t, counterArchive(t, "2.0.0", private), base)
	pushed(t, counterArchive(t, "3.0.0", ""), base)
	pushed(t, counterArchive(t, "4.0.0", other), base)
	f.Manifest("apps/counter", "index", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`))
	login := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:s3cret"))
	var lie atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	honest := func(http.ResponseWriter, *http.Request) bool { return false }
	lie.Store(&honest)
	f.Before(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != login {
			w.Header().Set("WWW-Authenticate", `Basic realm="here"`)
			ocitest.Refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
			return true
		}
		return (*lie.Load())(w, r)
	})
	text := fmt.Sprintf("[packages]\nkeys = [%q]\nplain-http = [%q]\ntrial = \"1s\"\ncatalogue = \"oci://%s/apps\"\n", public, f.Host(), f.Host())
	root := t.TempDir()
	h := startPackageHost(t, root, text+fmt.Sprintf("credentials = %q\n", loginFileFor(t, f.Host(), "me:s3cret")))
	if p := h.install(t, base+":1.0.0"); p.Status != "INSTALLED" || p.Version != "1.0.0" {
		t.Fatalf("%+v\n%s", p, h.log)
	}
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			ocitest.Refuse(w, code, "NO")
			return true
		}
	}
	ofBlobs := func(answer func(w http.ResponseWriter, whole []byte)) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			answer(w, f.Blob(r.URL.Path))
			return true
		}
	}
	for _, test := range []struct {
		name, tag, want string
		lie             func(http.ResponseWriter, *http.Request) bool
	}{
		{"an unknown tag", "9.9.9", "look at the name and the tag", honest},
		{"an index", "index", "not a package", honest},
		{"no signature", "3.0.0", "not signed", honest},
		{"another key", "4.0.0", "key", honest},
		{"403", "2.0.0", "does not allow it", status(http.StatusForbidden)},
		{"503", "2.0.0", "503", status(http.StatusServiceUnavailable)},
		{"429", "2.0.0", "asked too often", status(http.StatusTooManyRequests)},
		{"other bytes", "2.0.0", "other bytes", ofBlobs(func(w http.ResponseWriter, whole []byte) {
			_, _ = w.Write(bytes.Repeat([]byte("x"), len(whole)))
		})},
		{"a break in each blob", "2.0.0", "does not answer", ofBlobs(func(w http.ResponseWriter, whole []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(whole)))
			_, _ = w.Write(whole[:1000])
			panic(http.ErrAbortHandler)
		})},
		{"another host", "2.0.0", "without encryption", ofBlobs(func(w http.ResponseWriter, _ []byte) {
			w.Header().Set("Location", "http://127.0.0.1:1/x")
			w.WriteHeader(http.StatusTemporaryRedirect)
		})},
	} {
		t.Run(test.name, func(t *testing.T) {
			lie.Store(&test.lie)
			defer lie.Store(&honest)
			p := h.install(t, base+":"+test.tag)
			if p.Version != "1.0.0" || !strings.HasPrefix(p.Status, "INSTALLED (upgrade") || !strings.Contains(p.Reason, test.want) {
				t.Errorf("%+v, want the reason %q", p, test.want)
			}
		})
	}
	if err := h.ask(t, "Counter.1.increment", nil, nil); err != nil {
		t.Errorf("the old version does not answer: %v", err)
	}
	if err := h.ask(t, "Packager.upgrade", map[string]any{"package": "counter", "version": "2.0.0"}, nil); err != nil {
		t.Fatal(err)
	}
	if p := h.settled(t); p.Status != "INSTALLED" || p.Version != "2.0.0" {
		t.Errorf("by its name: %+v", p)
	}
	var all json.RawMessage
	if err := h.ask(t, "Packager.history", nil, &all); err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"log": h.log.String(), "history": string(all)} {
		if strings.Contains(text, "s3cret") || strings.Contains(text, strings.TrimPrefix(login, "Basic ")) {
			t.Errorf("the password is in the %s", what)
		}
	}
}

// Many machines: with Debian's registry, a wish is installed once the registry has notified the
// host; a registry that is down or empty changes nothing; a disabled package stays disabled; what
// a user does stays until a later wish comes.
func TestCentral(t *testing.T) {
	dir := t.TempDir()
	registry, kill := ocitest.StartDebian(t, dir, "127.0.0.1:0", "")
	kill()
	root := t.TempDir()
	config := fmt.Sprintf("[packages]\nunsigned = \"always\"\nplain-http = [%q]\ntrial = \"1s\"\ncentral = \"oci://%s/central\"\ncentral-every = \"1h\"\ncatalogue = \"oci://%s/apps\"\n", registry, registry, registry)
	h := startPackageHost(t, root, config)
	notify := "notifications: {endpoints: [{name: host, url: 'http://" + h.address + "/Service/Packager/central', timeout: 1s, threshold: 5, backoff: 1s}]}\n"
	_, kill = ocitest.StartDebian(t, dir, registry, notify)

	want := func(file string) {
		t.Helper()
		reference := pushed(t, file, "oci://"+registry+"/apps", "--catalogue")
		dormouse(t, nil, "package", "want", reference, "oci://"+registry+"/central", "--plain-http").expect(t, exitDone, "counter")
	}
	until := func(status, version string) {
		t.Helper()
		h.untilPackage(t, status+" "+version, func(p packageView) bool { return p.Status == status && p.Version == version })
	}
	want(counterArchive(t, "1.0.0", ""))
	until("INSTALLED", "1.0.0")
	want(counterArchive(t, "2.0.0", ""))
	until("INSTALLED", "2.0.0")
	h.dormouse(t, "package", "wishes").expect(t, exitDone, "counter", "done", "@sha256:")
	if err := h.ask(t, "Packager.synchronize", nil, nil); err != nil && !strings.Contains(err.Error(), "under way") {
		t.Fatal(err)
	}
	for late := time.Now().Add(testPatience); ; <-time.After(20 * time.Millisecond) {
		var offers []struct {
			Name     string
			Versions []string
		}
		err := h.ask(t, "Packager.browse", nil, &offers)
		if err == nil && len(offers) == 1 && fmt.Sprint(offers[0].Versions) == "[2.0.0 1.0.0]" {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("the catalogue offers %v, %v", offers, err)
		}
	}

	if err := h.ask(t, "Packager.disable", map[string]any{"package": "counter"}, nil); err != nil {
		t.Fatal(err)
	}
	until("DISABLED", "2.0.0")
	want(counterArchive(t, "3.0.0", ""))
	until("DISABLED", "3.0.0")

	if err := h.ask(t, "Packager.install", map[string]any{"package": "oci://" + registry + "/apps/counter:1.0.0", "downgrade": true}, nil); err != nil {
		t.Fatal(err)
	}
	until("DISABLED", "1.0.0")
	before := lookedAt(t, h)
	h.dormouse(t, "package", "wishes", "--again").expect(t, exitDone, "counter", "done")
	for late := time.Now().Add(testPatience); lookedAt(t, h) == before; <-time.After(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the host did not look again")
		}
	}
	if p := h.settled(t); p.Version != "1.0.0" {
		t.Errorf("the wish came back over the user's choice: %+v", p)
	}
	kill()
	if code := h.end(t); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
	h = startPackageHost(t, root, config)
	h.wait(t, "cannot read all wishes of the central repository; what is installed stays")
	until("DISABLED", "1.0.0")
}

// lookedAt returns when the host has last read the wishes.
func lookedAt(t *testing.T, h *testHost) string {
	t.Helper()
	var c centralRecord
	if err := h.ask(t, "Packager.central", nil, &c); err != nil {
		t.Fatal(err)
	}
	return c.LastLook
}

// A password comes from the standard input, and a host without one is refused, with what to do.
func TestRegistryLogin(t *testing.T) {
	dir := t.TempDir()
	registry, _ := ocitest.StartDebian(t, dir, "127.0.0.1:0", ocitest.Passwords(t, dir, "me", "s3cret"))
	file := counterArchive(t, "1.0.0", "")
	push := []string{"package", "push", file, "oci://" + registry + "/apps/counter", "--plain-http", "--credentials", loginFileFor(t, registry, "me:wr0ng")}
	runWithInput(t, "", push...).expect(t, exitFailed, "!put a login for "+registry)
	runWithInput(t, "s3cret\n", append(push, "--user", "me")...).expect(t, exitDone, "counter 1.0.0", "@sha256:")
	h := startPackageHost(t, t.TempDir(), fmt.Sprintf("[packages]\nunsigned = \"always\"\nplain-http = [%q]\ntrial = \"1s\"\n", registry))
	if p := h.install(t, "oci://"+registry+"/apps/counter"); p.Status != "FAILED" || !strings.Contains(p.Reason, "put a login for "+registry) {
		t.Errorf("%+v", p)
	}
}

// The notification of a registry is taken by a host, and may not be large. Which role it needs is
// tried in packager and controller: a caller on this machine may do all.
func TestNotificationBounds(t *testing.T) {
	h := startPackageHost(t, t.TempDir(), "[packages]\ncentral = \"oci://127.0.0.1:1/central\"\n")
	for size, status := range map[int]int{100: http.StatusAccepted, 2 << 20: http.StatusRequestEntityTooLarge} {
		url := "http://" + h.address + "/Service/Packager/central"
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(strings.Repeat(" ", size)))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != status {
			t.Errorf("%d bytes: %s, want %d", size, answer.Status, status)
		}
	}
}
