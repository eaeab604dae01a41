package state

import (
	"encoding/json"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/shell"
)

// Every method, and every endpoint, needs the role admin.
func TestNeededAccess(t *testing.T) {
	r := newRig(t, "", configs.State{})
	b := &backend{r.State}
	for name := range methods {
		if role, about := NeededAccess(Callsign, shell.Call{Method: name}); role != access.Admin || about.Callsign != Callsign || about.Method != name {
			t.Errorf("%s needs %v about %+v", name, role, about)
		}
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
		e, ok := b.Endpoint(method, "A/blobs/dir/b")
		if role, _ := NeededAccess(Callsign, shell.Call{Method: e.Needs}); !ok || role != access.Admin {
			t.Errorf("%s needs %v", method, role)
		}
	}
	for _, path := range []string{"", "A", "A/blobs/", "/blobs/b", "A/B/blobs/b", "A/blobs/../b", "A/keys/b"} {
		if _, ok := b.Endpoint("GET", path); ok {
			t.Errorf("there is something at %q", path)
		}
	}
}

// Methods refuse what they don't know, and say what is wrong.
func TestWrongParameters(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("A", "k", `1`)
	for call, want := range map[string]string{
		`get {}`:                        "name the owner",
		`get {"owner":"A"}`:             "there is no key",
		`get {"owner":"A","kee":"k"}`:   `"kee" is not known here`,
		`get {"owner":7}`:               `"owner" must be a string, not a number`,
		`set {"owner":"A","key":"k"}`:   "the value is missing",
		`list {"owner":"B"}`:            `there is no instance "B", and no state of it`,
		`list {"owner":"A","limit":-1}`: "limit must be between",
		`change {"owner":"A"}`:          "there is no change in it",
		`showblob {"owner":"A"}`:        "there is no blob",
		`deleteblob {"owner":"A"}`:      "the name of the blob is missing",
		`owners {"owner":"A"}`:          `"owner" is not known here`,
		`change {"owner":"A","changes":[{"key":"k","set":1,"delete":true}]}`: "can't be set and deleted",
	} {
		method, params, _ := strings.Cut(call, " ")
		_, err := (&backend{r.State}).Invoke(t.Context(), shell.Call{Method: method, Params: json.RawMessage(params)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", call, err, want)
		}
	}
	if _, err := (&backend{r.State}).Invoke(t.Context(), shell.Call{Method: "none"}); err != shell.ErrUnknownMethod { //nolint:errorlint // it is just that
		t.Errorf("an unknown method: %v", err)
	}
}
