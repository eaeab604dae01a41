package sdktest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"dormouse/plugins/sdk/sdktest"
	"dormouse/shell"
)

// ask posts a body of that many bytes to the parrot, and returns status and body of the answer.
func ask(t *testing.T, parrot *sdktest.Harness, path string, bytes int) (status int, text string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(strings.Repeat("x", bytes)))
	r.Header.Set("Dormouse-Caller", "Forged")
	answer := parrot.Serve(r)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestServe(t *testing.T) {
	parrot := sdktest.Start(t, sdktest.Options{Configuration: map[string]any{"word": "Polly"}})
	for _, size := range []int{0, 3, 100 << 10} {
		if status, text := ask(t, parrot, "/", size); status != http.StatusAccepted || text != strings.Repeat("Polly", size) {
			t.Errorf("%d bytes: %d, %d bytes", size, status, len(text))
		}
	}
	if status, text := ask(t, parrot, "/die", 0); status != http.StatusBadGateway || !strings.Contains(text, "ended before it answered") {
		t.Errorf("of the dying one: %d %q", status, text)
	}
}

// TestServeWakes has a request wake the parrot, as a call does.
func TestServeWakes(t *testing.T) {
	parrot := sdktest.Start(t, sdktest.Options{WakeOnCall: true, Configuration: map[string]any{"word": "Polly"}})
	parrot.Hibernate()
	if status, text := ask(t, parrot, "/", 2); status != http.StatusAccepted || text != "PollyPolly" {
		t.Errorf("%d %q", status, text)
	}
	if state := parrot.State(); state != shell.Activated {
		t.Errorf("the parrot is %s", state)
	}
	parrot.Deactivate()
	if status, text := ask(t, parrot, "/", 2); status != http.StatusServiceUnavailable || !strings.Contains(text, "is not active") {
		t.Errorf("of the deactivated one: %d %q", status, text)
	}
}
