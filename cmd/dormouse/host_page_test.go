package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each method that the built-in page calls is one that its part of the host has.
func TestPageCallsMethodsThatExist(t *testing.T) {
	h := startHost(t, t.TempDir(), "")
	h.wait(t, "ready")
	page := h.get(t, "/Service/Controller/UI/")
	called := regexp.MustCompile(`"(Packager|Flows)\.1\.([a-z]+)"`).FindAllStringSubmatch(page, -1)
	for _, verb := range []string{"install", "upgrade", "uninstall", "enable", "disable", "retry", "rollback", "cancel"} {
		called = append(called, []string{"", "Packager", verb})
	}
	for _, verb := range []string{"run", "pause", "stop"} {
		called = append(called, []string{"", "Flows", verb})
	}
	for _, verb := range []string{"restart", "activate", "deactivate", "suspend", "resume", "hibernate"} {
		if !strings.Contains(page, `"`+verb+`"]`) {
			t.Errorf("the page offers no %s", verb)
		}
		called = append(called, []string{"", "Controller", verb})
	}
	if len(called) < 20 {
		t.Fatalf("found only %q", called)
	}
	for _, c := range called {
		if c[2] == "register" {
			continue // a method of every callsign's websocket
		}
		request := `{"jsonrpc":"2.0","id":1,"method":"` + c[1] + `.1.exists","params":{"method":"` + c[2] + `"}}`
		status, answer := h.post(t, "/jsonrpc?dialect=r5", "application/json", strings.NewReader(request), -1)
		if status != http.StatusOK || !strings.Contains(answer, `"result":true`) {
			t.Errorf("%s.1.%s: %d %s", c[1], c[2], status, answer)
		}
	}
}

// uploadedBytes is the size of an upload that must not be in memory, and maxUploadMemory what
// the host may have more in memory meanwhile: other work goes on beside the upload, and what is
// in memory of it would be all of it. A small upload before has the code and the buffers there.
const (
	uploadedBytes   = 100 << 20
	firstBytes      = 4 << 20
	maxUploadMemory = uploadedBytes / 2
)

// An archive goes to the disk as it arrives. A body that is no archive is refused with the reason, one
// beyond max-size with 413, whether it says its length or not.
func TestUpload(t *testing.T) {
	h := startHost(t, t.TempDir(), "[packages]\nmax-size = \"101MiB\"\n")
	h.wait(t, "ready")
	const path, binary = "/Service/Packager/packages", "application/octet-stream"
	if status, answer := h.post(t, path, binary, strings.NewReader("no archive"), -1); status != http.StatusBadRequest || !strings.Contains(answer, "archive") {
		t.Errorf("no archive: %d %s", status, answer)
	}
	if status, answer := h.post(t, path, binary, zeros(firstBytes), firstBytes); status != http.StatusBadRequest {
		t.Errorf("%d bytes that are no archive: %d %s", firstBytes, status, answer)
	}
	before := h.resetPeakMemory(t)
	if status, answer := h.post(t, path, binary, zeros(uploadedBytes), uploadedBytes); status != http.StatusBadRequest || answer == "" {
		t.Errorf("%d bytes that are no archive: %d %s", uploadedBytes, status, answer)
	}
	grown := h.memoryFigure(t, "VmHWM") - before
	t.Logf("an upload of %d MiB: the host grew by %d KiB", uploadedBytes>>20, grown>>10)
	if grown >= maxUploadMemory {
		t.Errorf("an upload of %d bytes takes %d bytes of memory", uploadedBytes, grown)
	}
	const tooMany = 102 << 20
	for _, length := range []int64{tooMany, -1} {
		if status, answer := h.post(t, path, binary, zeros(tooMany), length); status != http.StatusRequestEntityTooLarge || answer == "" {
			t.Errorf("beyond max-size, with the length %d: %d %s", length, status, answer)
		}
	}
	left, err := os.ReadDir(h.root + "/packages/upload")
	if err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.HasSuffix(e.Name(), ".part") }) {
		t.Errorf("left of refused uploads: %v, %v", left, err)
	}
	var packages []json.RawMessage
	if err := json.Unmarshal([]byte(h.dormouse(t, "package", "list", "-o", "json").out), &packages); err != nil || len(packages) > 0 {
		t.Errorf("packages of refused uploads: %s, %v", packages, err)
	}
}

// An archive that a page sends is installed, and says so.
func TestUploadIsInstalled(t *testing.T) {
	h := startHost(t, t.TempDir(), "")
	h.wait(t, "ready")
	file := filepath.Join(t.TempDir(), "clock.tar.zst")
	dir := writePackageOf(t, "clock", "1.0.0", "counter", "Clock")
	dormouse(t, nil, "package", "build", dir, "-o", file).expect(t, exitDone)
	archive, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	status, answer := h.post(t, "/Service/Packager/packages", "application/octet-stream", archive, -1)
	if status != http.StatusAccepted || !strings.Contains(answer, `"package":"clock","version":"1.0.0"`) || !strings.Contains(answer, "without a restart") {
		t.Fatalf("%d %s", status, answer)
	}
	h.wait(t, "done") // the operation
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "clock    1.0.0    local   INSTALLED")
}

// An instance of the files that requires one of a package waits until the package is installed,
// and the host and config check say so.
func TestFileRequiresInstanceOfPackage(t *testing.T) {
	text := "[[plugin]]\ncallsign = \"Needs\"\nexecutable = \"" + examples + "/counter\"\nstart-mode = \"activated\"\nrequires = [\"Clock\"]\n"
	h := startHost(t, t.TempDir(), text)
	h.wait(t, "ready")
	const note = `Needs requires "Clock", which no file names: it waits until a package has an instance of that callsign`
	if log := fmt.Sprint(h.log); !strings.Contains(log, strings.ReplaceAll(note, `"`, `\"`)) {
		t.Errorf("the log does not say so:\n%s", log)
	}
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "Needs", "precondition")
	dormouse(t, nil, "config", "check", "--config", configOf(h.cmd.Args)).expect(t, exitDone, "nothing wrong", "note: ", note)
	h.dormouse(t, "plugin", "install", writePackageOf(t, "clock", "1.0.0", "counter", "Clock"), "--wait").expect(t, exitDone)
	h.wait(t, "Needs activated")
}

// zeros returns a reader of so many bytes.
func zeros(n int64) io.Reader { return io.LimitReader(zeroBytes{}, n) }

type zeroBytes struct{}

// Read fills the buffer with zeros.
func (zeroBytes) Read(into []byte) (int, error) {
	clear(into)
	return len(into), nil
}

// get returns the body of a path of the host.
func (h *testHost) get(t *testing.T, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	status, body := answerTo(t, request)
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, body)
	}
	return body
}

// post sends a body, of unknown length if that is negative, and returns the answer.
func (h *testHost) post(t *testing.T, path, contentType string, body io.Reader, length int64) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+h.address+path, body)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = length
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Origin", "http://"+h.address) // as a browser with the host's page does
	request.Header.Set("Expect", "100-continue")      // a refusal comes before the body
	return answerTo(t, request)
}

// answerTo sends a request and returns what the host answers.
func answerTo(t *testing.T, request *http.Request) (status int, body string) {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(text))
}

// resetPeakMemory has the kernel count the peak anew, and returns what the host has in memory now.
func (h *testHost) resetPeakMemory(t *testing.T) int64 {
	t.Helper()
	if err := os.WriteFile("/proc/"+strconv.Itoa(h.cmd.Process.Pid)+"/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	return h.memoryFigure(t, "VmHWM")
}

// memoryFigure returns a figure of the host's process in bytes, by its name in /proc.
func (h *testHost) memoryFigure(t *testing.T, name string) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(h.cmd.Process.Pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\n"+name+":")
	figure, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err := strconv.ParseInt(figure, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
