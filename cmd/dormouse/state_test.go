package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"dormouse/internal/ownedtree"
)

const counterInstance = "[[plugin]]\ncallsign = \"Counter\"\nexecutable = \"EXAMPLES/counter\"\n"

// An operator sets, reads, lists and deletes keys and blobs of a plugin, and takes them elsewhere
// as an archive; the state is there without the plugin.
func TestStateVerbs(t *testing.T) {
	root := t.TempDir()
	h := startHost(t, root, counterInstance)
	h.wait(t, "ready")
	h.dormouse(t, "state", "list").expect(t, exitDone, "no plugin keeps anything")
	h.dormouse(t, "state", "set", "Contuer", "k", "1").expect(t, exitFailed, `!there is no instance "Contuer", and no state of it`)
	h.dormouse(t, "state", "set", "Counter", "settings", `{"rounds":20}`).expect(t, exitDone, "1\n")
	h.dormouse(t, "state", "set", "Counter", "settings", `{"rounds":21}`, "--if-revision", "7").expect(t, exitFailed, `!the key "settings" has revision 1, and the change is for revision 7`)
	h.dormouse(t, "state", "set", "Counter", "settings", "{").expect(t, exitUsage, "!the argument must be JSON")
	h.dormouse(t, "state", "set", "Counter", "settings", "@/nonexistent/value").expect(t, exitFailed, "!cannot read /nonexistent/value: no such file")
	h.dormouse(t, "state", "set", "Counter", "nothing", "null", "--if-revision", "0").expect(t, exitDone, "2\n")
	h.dormouse(t, "state", "get", "Counter", "settings").expect(t, exitDone, `"rounds": 20`)
	h.dormouse(t, "state", "get", "Counter", "other").expect(t, exitFailed, `!there is no key "other"`)
	content := bytes.Repeat([]byte{0, 1, 2, 255}, 100_000)
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	h.dormouse(t, "state", "set", "Counter", "runs/first run.bin", file, "--blob", "--type", "application/x-run").expect(t, exitDone, "3\n")
	h.dormouse(t, "state", "set", "Counter", "empty", "/dev/null", "--blob").expect(t, exitDone, "4\n")
	h.dormouse(t, "state", "set", "Counter", "empty", file, "--blob", "--if-revision", "0").expect(t, exitFailed, `!there is a blob "empty" already`)
	if r := h.dormouse(t, "state", "get", "Counter", "runs/first run.bin", "--blob").expect(t, exitDone); r.out != string(content) {
		t.Errorf("the blob came back with %d bytes", len(r.out))
	}
	h.dormouse(t, "state", "list").expect(t, exitDone, "Counter  yes")
	h.dormouse(t, "state", "list", "Counter").expect(t, exitDone, `{"rounds":20}`, "blob  runs/first run.bin  391 KiB", "application/x-run")
	h.dormouse(t, "state", "list", "Counter", "set").expect(t, exitDone, "settings")
	if metrics := h.get(t, "/metrics"); !strings.Contains(metrics, "\ndormouse_state_keys{owner=\"Counter\"} 2\n") {
		t.Error("there are no metrics")
	}

	archive := filepath.Join(t.TempDir(), "counter.tar")
	h.dormouse(t, "state", "export", "Counter", archive).expect(t, exitDone)
	h.dormouse(t, "state", "import", "Counter", archive).expect(t, exitFailed, "!it keeps 2 keys and 2 blobs; --merge")
	h.dormouse(t, "plugin", "clone", "Counter", "Other").expect(t, exitDone)
	h.dormouse(t, "state", "import", "Other", archive).expect(t, exitDone, "imported 2 keys and 2 blobs")
	if r := h.dormouse(t, "state", "get", "Other", "runs/first run.bin", "--blob").expect(t, exitDone); r.out != string(content) {
		t.Errorf("the imported blob has %d bytes", len(r.out))
	}
	h.dormouse(t, "state", "get", "Other", "nothing").expect(t, exitDone, "null")
	whole, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.tar")
	if err := os.WriteFile(cut, whole[:len(whole)-200_000], 0o600); err != nil {
		t.Fatal(err)
	}
	h.dormouse(t, "state", "import", "Other", cut, "--merge").expect(t, exitFailed, "!cannot import the state of Other: ", "!2 of 2 keys and 1 of 2 blobs are imported")
	h.dormouse(t, "state", "import", "Other", file, "--merge").expect(t, exitFailed, "!it is not an archive")

	h.dormouse(t, "state", "delete", "Counter", "settings", "none").expect(t, exitFailed, "settings is deleted", "!Counter has no key none")
	h.dormouse(t, "state", "delete", "Counter", "empty", "--blob").expect(t, exitDone, "empty is deleted")
	h.dormouse(t, "plugin", "destroy", "Other").expect(t, exitDone)
	h.dormouse(t, "state", "list", "Other").expect(t, exitFailed, `!there is no instance "Other", and no state of it`)
	h.end(t)

	h = startHost(t, root, "")
	h.wait(t, "ready")
	h.dormouse(t, "state", "list").expect(t, exitDone, "Counter  no        1     11 B  1      391 KiB")
	h.dormouse(t, "state", "delete", "Counter", "--all").expect(t, exitDone, "Counter keeps nothing")
	h.dormouse(t, "state", "list").expect(t, exitDone, "no plugin keeps anything")
	h.end(t)
	expectNoBlobFiles(t, root)
}

// A clone never gets the state that an earlier instance of its name has left.
func TestStateOfAnEarlierInstance(t *testing.T) {
	root := t.TempDir()
	h := startHost(t, root, counterInstance+"[[plugin]]\ncallsign = \"Old\"\nexecutable = \"EXAMPLES/counter\"\n")
	h.wait(t, "ready")
	h.dormouse(t, "state", "set", "Old", "k", "1").expect(t, exitDone)
	h.end(t)
	h = startHost(t, root, counterInstance)
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "clone", "Counter", "Old").expect(t, exitFailed, "!has left state (see dormouse state list Old)")
	h.dormouse(t, "state", "delete", "Old", "--all").expect(t, exitDone)
	h.dormouse(t, "plugin", "clone", "Counter", "Old").expect(t, exitDone)
	// What is deleted of an instance leaves its revisions: its plugin may remember one.
	h.dormouse(t, "state", "set", "Old", "k", "1").expect(t, exitDone, "1")
	h.dormouse(t, "state", "delete", "Old", "--all").expect(t, exitDone)
	h.dormouse(t, "state", "set", "Old", "k", "1").expect(t, exitDone, "2")
	h.end(t)
}

// A reload adjusts the quotas, and the error of one says what is left.
func TestStateQuotas(t *testing.T) {
	h := startHost(t, t.TempDir(), counterInstance+"[state]\nmax-blob-bytes = \"1KiB\"\n")
	h.wait(t, "ready")
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	h.dormouse(t, "state", "set", "Counter", "b", file, "--blob").expect(t, exitFailed, "!the state of Counter is full: 1.0 KiB of 1.0 KiB are left, and this needs 4.9 KiB")
	if err := os.WriteFile(file, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	h.dormouse(t, "state", "set", "Counter", "a", file, "--blob").expect(t, exitDone)
	h.dormouse(t, "state", "set", "Counter", "b", file, "--blob").expect(t, exitFailed, "!the state of Counter is full: 24 B of 1.0 KiB are left, and this needs 1000 B; delete something, or raise max-blob-bytes in [state]")
	rewrite(t, configOf(h.cmd.Args), counterInstance+"[state]\nmax-blob-bytes = \"1MiB\"\n")
	if told := h.hangUp(t, 1); !strings.Contains(told, "state: adjusted, the quotas differ") {
		t.Errorf("told %q", told)
	}
	h.dormouse(t, "state", "set", "Counter", "b", file, "--blob").expect(t, exitDone)
	h.end(t)
}

// Blobs over HTTP are what HTTP clients expect: types, ranges, ETags and conditions; a body that
// breaks off leaves nothing, and what is not a blob is a clear status.
func TestBlobsOverHTTP(t *testing.T) {
	h := startHost(t, t.TempDir(), counterInstance)
	h.wait(t, "ready")
	const path = "/Service/State/Counter/blobs/runs/1.csv"
	type answer struct {
		StatusCode    int
		Status        string
		Header        http.Header
		ContentLength int64
	}
	ask := func(method, path, body string, headers ...string) (answer, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+h.address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			request.Header.Set(headers[i], headers[i+1])
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer{response.StatusCode, response.Status, response.Header, response.ContentLength}, string(text)
	}
	expect := func(status int, response answer, text string, parts ...string) {
		t.Helper()
		if response.StatusCode != status {
			t.Errorf("got %s: %s", response.Status, text)
		}
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%q does not say %q", text, part)
			}
		}
	}
	made, text := ask("PUT", path, "a;b\n1;2\n", "Content-Type", "text/csv")
	expect(http.StatusCreated, made, text, `"name":"runs/1.csv"`, `"size":8`)
	got, text := ask("GET", path, "")
	expect(http.StatusOK, got, text)
	if text != "a;b\n1;2\n" || got.Header.Get("Content-Type") != "text/csv" || got.Header.Get("ETag") != `"1"` || !strings.HasPrefix(got.Header.Get("Repr-Digest"), "sha-256=:") {
		t.Errorf("got %q with %v", text, got.Header)
	}
	got, text = ask("HEAD", path, "")
	expect(http.StatusOK, got, text)
	if got.ContentLength != 8 || text != "" {
		t.Errorf("HEAD gives %d and %q", got.ContentLength, text)
	}
	got, text = ask("GET", path, "", "Range", "bytes=4-6")
	expect(http.StatusPartialContent, got, text, "1;2")
	got, text = ask("GET", path, "", "Range", "bytes=100-")
	expect(http.StatusRequestedRangeNotSatisfiable, got, text)
	got, text = ask("GET", path, "", "If-None-Match", `"1"`)
	expect(http.StatusNotModified, got, text)
	got, text = ask("PUT", path, "new", "If-None-Match", "*")
	expect(http.StatusPreconditionFailed, got, text, "there is a blob")
	got, text = ask("PUT", path, "new", "Content-Digest", "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:")
	expect(http.StatusBadRequest, got, text, "its SHA-256 is")
	got, text = ask("PUT", path, "new", "If-Match", `"1"`)
	expect(http.StatusOK, got, text, `"revision":2`)
	got, text = ask("POST", path, "x", "Content-Type", "application/octet-stream")
	expect(http.StatusMethodNotAllowed, got, text, "GET, HEAD, PUT, DELETE")
	got, text = ask("GET", "/Service/State/Counter/blobs/none", "")
	expect(http.StatusNotFound, got, text, `there is no blob "none"`)
	got, text = ask("PUT", "/Service/State/Nobody/blobs/none", "x")
	expect(http.StatusNotFound, got, text, `there is no instance "Nobody"`)
	cutOffBody(t, h.address, "/Service/State/Counter/blobs/half")
	got, text = ask("GET", "/Service/State/Counter/blobs/half", "")
	expect(http.StatusNotFound, got, text)
	got, text = ask("DELETE", path, "")
	expect(http.StatusNoContent, got, text)
	got, text = ask("DELETE", path, "")
	expect(http.StatusNoContent, got, text)
	expectNoBlobFiles(t, h.root)
	h.end(t)
}

// expectNoBlobFiles fails the test if a file of a blob is left.
func expectNoBlobFiles(t *testing.T, root string) {
	t.Helper()
	if left, err := ownedtree.ForeignEntries(filepath.Join(root, "blobs")); err != nil || len(left) != 0 {
		t.Errorf("left are %q, %v", left, err)
	}
}

// cutOffBody sends half of a body, and waits until the host has noticed.
func cutOffBody(t *testing.T, address, path string) {
	t.Helper()
	conn, err := net.Dial("tcp", address) //nolint:noctx // a bare connection
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := "PUT " + path + " HTTP/1.1\r\nHost: " + address + "\r\nContent-Type: text/csv\r\nContent-Length: " + strconv.Itoa(1<<20) + "\r\n\r\n" + strings.Repeat("x", 300_000)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil { //nolint:errcheck // it is one
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.Contains(string(answer), "the body broke off") {
		t.Errorf("the answer is %q, %v", answer, err)
	}
}
