package packager

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/oci"
	"dormouse/plugins/packager/records"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// build returns the archive of a package.
func (r *rig) build(dir string) []byte {
	r.Helper()
	var b bytes.Buffer
	_, err := archive.Build(r.Context(), dir, &b, archive.TarGzip, manifest.FileName, nil)
	r.must(err)
	return b.Bytes()
}

// upload sends a body to the place of uploads, as the front passes it on.
func (r *rig) upload(body []byte, query string) *httptest.ResponseRecorder {
	r.Helper()
	e, ok := backend{r.Packager}.Endpoint(http.MethodPost, "packages")
	if !ok || e.Needs != "install" || e.MaxBody != int64(r.settings().MaxSize) || e.Memory > 1<<20 {
		r.Fatalf("the place of uploads is %+v, %t", e, ok)
	}
	request := httptest.NewRequestWithContext(r.Context(), http.MethodPost, "/Service/Packager/packages?"+query, bytes.NewReader(body))
	request.RemoteAddr = "127.0.0.1:1"
	answer := httptest.NewRecorder()
	e.ServeHTTP(answer, request)
	return answer
}

// An upload is installed, on both sides and at once; a second one while the first is under way, one
// that is too big, and one that is no package are refused with their statuses.
func TestUpload(t *testing.T) {
	runWith(t, func(o *Options) { o.Config.MaxSize = 64 << 10 }, func(r *rig) {
		one := r.build(r.simple("1.0.0", ""))
		r.probes = make(chan struct{})
		answer := r.upload(one, "operation=mine")
		var told Uploaded
		if err := json.Unmarshal(answer.Body.Bytes(), &told); err != nil || answer.Code != http.StatusAccepted || told.Package != "p" || told.Operation != "mine" || !strings.Contains(told.Message, "without a restart") {
			t.Errorf("the answer is %d %s", answer.Code, answer.Body)
		}
		r.supervisorEvents()
		if answer := r.upload(one, ""); answer.Code != http.StatusConflict {
			t.Errorf("a second one is answered with %d %s", answer.Code, answer.Body)
		}
		close(r.probes)
		r.wait()
		r.expect("INSTALLED", "1.0.0", "1")
		if database, files := r.sides(); database != "1.0.0" || files != "1.0.0" {
			t.Errorf("it is %q and %q", database, files)
		}
		for want, body := range map[int][]byte{
			http.StatusBadRequest:            []byte("no archive at all"),
			http.StatusRequestEntityTooLarge: bytes.Repeat([]byte("x"), 65<<10),
		} {
			if answer := r.upload(body, ""); answer.Code != want {
				t.Errorf("a wrong one is answered with %d %s, want %d", answer.Code, answer.Body, want)
			}
		}
		if answer := r.upload(one, "downgrade=maybe"); answer.Code != http.StatusBadRequest {
			t.Errorf("a wrong option is answered with %d %s", answer.Code, answer.Body)
		}
		if left, err := os.ReadDir(r.dirs.UploadDir()); err != nil || len(left) != 1 {
			t.Errorf("left among the uploads: %v, %v", left, err)
		}
		if _, ok := (backend{r.Packager}).Endpoint(http.MethodGet, "packages"); ok {
			t.Error("there is something to get")
		}
	})
}

// A client of an upload for which the host has no room, or no time, is told when to try again.
func TestUploadTriedAgain(t *testing.T) {
	for err, want := range map[error][2]string{
		syscall.ENOSPC:       {"507", "10"},
		shell.ErrUnavailable: {"503", "1"},
		ErrBadRequest:        {"400", ""},
	} {
		answer := httptest.NewRecorder()
		respondError(answer, fmt.Errorf("cannot take it: %w", err))
		if got := [2]string{strconv.Itoa(answer.Code), answer.Header().Get("Retry-After")}; got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

// An upload from elsewhere is not local: unsigned, it is refused.
func TestUploadFromElsewhere(t *testing.T) {
	run(t, func(r *rig) {
		body := r.build(r.simple("1.0.0", ""))
		request := httptest.NewRequestWithContext(r.Context(), http.MethodPost, "/Service/Packager/packages", bytes.NewReader(body))
		request.RemoteAddr = "192.0.2.1:1"
		r.serveUpload(httptest.NewRecorder(), request)
		r.wait()
		record, _ := r.records.Get("p")
		if record.State != records.Failed || !strings.Contains(record.Failure.Reason, "not signed") {
			t.Errorf("it is %s since %+v", record.Status(), record.Failure)
		}
	})
}

// A package may come from an OCI layout, whose name says nothing: what it is called is found out
// on the way.
func TestLayoutAsSource(t *testing.T) {
	run(t, func(r *rig) {
		layoutDir := filepath.Join(r.root, "some-layout")
		layout, err := oci.OpenLayout(layoutDir)
		r.must(err)
		for version, tag := range map[string]string{"1.0.0": "one", "2.0.0": "two"} {
			_, err = layout.Add(r.Context(), bytes.NewReader(r.build(r.simple(version, ""))), oci.Label{Name: "p", Version: version}, tag)
			r.must(err)
		}
		r.install(layoutDir + ":one")
		r.expect("INSTALLED", "1.0.0", "1")
		r.install(layoutDir + ":two")
		r.expect("INSTALLED", "2.0.0", "12")
		if all := r.records.All(); len(all) != 1 {
			t.Errorf("there are %+v", all)
		}
	})
}

// A download from a web server goes on where it was cut, and plain HTTP is refused unless the host
// is named.
func TestDownload(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 1000)
	var ranges []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/p.tar.gz" {
			http.NotFound(w, q)
			return
		}
		ranges = append(ranges, q.Header.Get("Range"))
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(body))
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(body[:4321]); err != nil {
		t.Fatal(err)
	}
	var last, total int64
	told := func(done, of int64) { last, total = done, of }
	config := configs.Default().Packages
	strict, err := newRegistries(config, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := strict.fetch(t.Context(), server.URL+"/p.tar.gz", "", f, told); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "plain-http") {
		t.Errorf("plain HTTP: %v", err)
	}
	config.PlainHTTP = []string{strings.TrimPrefix(server.URL, "http://")}
	open, err := newRegistries(config, "test")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is whole
		if err := open.fetch(t.Context(), server.URL+"/p.tar.gz", "", f, told); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, body) || last != 10000 || total != 10000 {
		t.Errorf("it has %d bytes, %d of %d were told, %v", len(got), last, total, err)
	}
	if want := []string{"bytes=4321-", "bytes=10000-"}; !slices.Equal(ranges, want) {
		t.Errorf("asked for %q, want %q", ranges, want)
	}
	if err := open.fetch(t.Context(), server.URL+"/other", "", f, told); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("what is not there: %v", err)
	}
}

// What can be seen to be wrong at once is the answer of the call, and begins nothing.
func TestWrongRequests(t *testing.T) {
	run(t, func(r *rig) {
		for _, test := range []struct {
			method string
			params any
			want   error
		}{
			{"install", map[string]any{}, ErrBadRequest},
			{"install", map[string]any{"package": "/nowhere"}, ErrBadRequest},
			{"install", map[string]any{"package": r.root}, ErrBadRequest},
			{"install", map[string]any{"package": "Not A Name"}, ErrBadRequest},
			{"install", map[string]any{"package": "oci://bad reference"}, ErrBadRequest},
			{"install", map[string]any{"package": "p", "unknown": 1}, ErrBadRequest},
			{"install", map[string]any{"package": r.simple("1.0.0", ""), "architecture": "m68k"}, ErrBadRequest},
			{"install", map[string]any{"package": "p"}, ErrNoRegistry},
			{"upgrade", map[string]any{"package": "p"}, ErrUnknown},
			{"show", map[string]any{"package": "p"}, ErrUnknown},
			{"enable", map[string]any{}, ErrBadRequest},
			{"enable", map[string]any{"package": "p"}, ErrUnknown},
			{"retry", map[string]any{"package": "p"}, ErrUnknown},
			{"cancel", map[string]any{"package": "p"}, ErrUnknown},
			{"uninstall", map[string]any{"package": "p"}, ErrUnknown},
			{"browse", nil, ErrNoRegistry},
			{"nothing", nil, shell.ErrUnknownMethod},
		} {
			if _, err := r.call(test.method, test.params); !errors.Is(err, test.want) {
				t.Errorf("%s %v: %v, want %v", test.method, test.params, err, test.want)
			}
		}
		if all := r.records.All(); len(all) != 0 {
			t.Errorf("there are %+v", all)
		}
	})
}

// Wrong parameters are told by their names, in words.
func TestWordsForWrongParameters(t *testing.T) {
	run(t, func(r *rig) {
		for _, test := range []struct {
			method string
			params any
			want   string
		}{
			{"install", map[string]any{"package": 1}, `wrong parameters: "package" must be a string, not a number`},
			{"install", map[string]any{"package": "p", "grant": "yes"}, `wrong parameters: "grant" must be true or false, not a string`},
			{"install", map[string]any{"pakage": "p"}, `wrong parameters: "pakage" is not known here`},
			{"enable", []string{"p"}, `wrong parameters: the whole must be an object, not an array`},
			{"show", map[string]any{"package": strings.Repeat("p", maxText+1)}, `wrong parameters: "package" must have at most 4096 bytes, and has 4097`},
		} {
			if _, err := r.call(test.method, test.params); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s %v: %v, want %s", test.method, test.params, err, test.want)
			}
		}
	})
}

// What Thunder's clients of its Packager call is answered as there: null at once.
func TestThundersPackager(t *testing.T) {
	run(t, func(r *rig) {
		for _, call := range []struct {
			method string
			params any
		}{
			{"install", map[string]any{"package": r.simple("1.0.0", ""), "version": "1.0.0", "architecture": "amd64"}},
			{"synchronize", nil},
		} {
			result, err := r.call(call.method, call.params)
			if call.method == "install" && err != nil {
				result, err = r.call(call.method, map[string]any{"package": r.simple("1.0.0", "")}) // another machine
			}
			if err != nil || string(result) != "null" {
				t.Errorf("%s is answered with %s, %v", call.method, result, err)
			}
		}
		r.wait()
		r.expect("INSTALLED", "1.0.0", "1")
	})
}

// What an upload was refused for is lifted by an option of retry, for which the archive is kept; it
// goes when nothing would need it any more.
func TestRetryLiftsRefusal(t *testing.T) {
	runWith(t, func(o *Options) { o.Config.Caps.Environment = []string{"LANG"} }, func(r *rig) {
		uploads := func() (names []string) {
			entries, err := os.ReadDir(r.dirs.UploadDir())
			r.must(err)
			for _, e := range entries {
				if strings.Contains(e.Name(), "upload-") {
					names = append(names, e.Name())
				}
			}
			return names
		}
		upload := func(manifest string) {
			r.Helper()
			if answer := r.upload(r.build(r.write(manifest)), "package=p"); answer.Code != http.StatusAccepted {
				r.Fatalf("the upload is answered with %d %s", answer.Code, answer.Body)
			}
			r.wait()
		}
		refused := func(option, status string) {
			r.Helper()
			record, _ := r.records.Get("p")
			if record.Failure == nil || !slices.Equal(record.Failure.Options, []string{option}) || record.Status() != status {
				t.Errorf("it is %s, refused with %+v", record.Status(), record.Failure)
			}
			if left := uploads(); len(left) != 1 {
				t.Errorf("kept for a repetition: %q", left)
			}
		}
		upload(manifestText("p", "2.0.0", "") + instanceText("P", "2", ""))
		r.expect("INSTALLED", "2.0.0", "2")

		upload(manifestText("p", "1.0.0", "") + instanceText("P", "1", ""))
		refused("downgrade", "INSTALLED (upgrade to 1.0.0 failed)")
		if last := r.lastEnded(); last.From != "2.0.0" || last.To != "1.0.0" {
			t.Errorf("it is noted as %+v", last)
		}
		r.must(r.Retry("p", records.Request{Downgrade: true}))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "21")

		asksMore := manifestText("p", "3.0.0", "") + instanceText("P", "3", "") + "environment = { LANG = \"x\" }\n"
		upload(asksMore)
		refused("grant", "INSTALLED (upgrade to 3.0.0 failed)")
		upload(asksMore) // the one before goes
		refused("grant", "INSTALLED (upgrade to 3.0.0 failed)")
		if _, err := r.call("retry", map[string]any{"package": "p", "grant": true}); err != nil {
			t.Error(err)
		}
		r.wait()
		r.expect("INSTALLED", "3.0.0", "213")
		if left := uploads(); len(left) > 0 {
			t.Errorf("left of uploads: %q", left)
		}
		if answer := r.upload(r.build(r.write(manifestText("q", "1.0.0", ""))), "package=p"); answer.Code != http.StatusBadRequest {
			t.Errorf("another package is answered with %d %s", answer.Code, answer.Body)
		}
	})
}

// A retry that lifts a refusal needs the role of what was refused; a refusal of a removal says what
// lifts it.
func TestRefusalsSayWhatLiftsThem(t *testing.T) {
	for params, want := range map[string]access.Role{
		`{"package":"p"}`: access.Operate, `{"package":"p","grant":true}`: access.Admin, `{"package":"p","GRANT":true}`: access.Admin,
		`{"package":"p","downgrade":true}`: access.Admin, `{"package":"p","replace":true}`: access.Admin, `{"package":"p","replace":false}`: access.Operate,
	} {
		if got, _ := NeededAccess(Callsign, shell.Call{Method: "retry", Params: []byte(params)}); got != want {
			t.Errorf("%s needs %v", params, got)
		}
	}
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.flows.mu.Lock()
		r.flows.holding = []string{"frames"}
		r.flows.mu.Unlock()
		_, err := r.call("uninstall", map[string]any{"package": "p"})
		if got := thunder.DataOf(err).Options; !slices.Equal(got, []string{"drain", "discard"}) {
			t.Errorf("%v is lifted by %q", err, got)
		}
	})
}
