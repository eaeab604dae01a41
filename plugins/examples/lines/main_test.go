package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/plugins/sdk"
	"dormouse/plugins/sdk/sdktest"
)

func TestMain(m *testing.M) { sdktest.Main(m, &lines{}) }

func TestProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kept")
	h := sdktest.Start(t, sdktest.Options{Configuration: map[string]any{"file": file}})
	for _, test := range []struct{ flow, body, want string }{
		{"texts", "one\ntwo\n\nfour", "one|two||four"},
		{"texts", "", ""},
		{"loud", "one", "ONE"},
		{"file", "ONE", ""},
		{"file", "TWO", ""},
	} {
		results, err := h.Process(test.flow, sdk.Message{Body: []byte(test.body), ContentType: "text/plain"})
		if err != nil {
			t.Fatalf("%s: %v", test.flow, err)
		}
		var bodies []string
		for _, r := range results {
			bodies = append(bodies, string(r.Body))
			if r.ContentType != "text/plain" {
				t.Errorf("%s: a result is %q", test.flow, r.ContentType)
			}
		}
		if got := strings.Join(bodies, "|"); got != test.want {
			t.Errorf("%s made %q of %q, want %q", test.flow, got, test.body, test.want)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "ONE\nTWO\n" {
		t.Errorf("the sink has %q, %v", got, err)
	}
	if _, err := h.Process("nothing", sdk.Message{}); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("an unknown flow got %v", err)
	}
}
