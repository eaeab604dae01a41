package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/internal/store"
)

// The store of a host is backed up and checked while the host runs and when it does not, and a
// backup in its place has what the host knew.
func TestStoreVerbs(t *testing.T) {
	root := t.TempDir()
	path, copied := filepath.Join(root, "store.db"), filepath.Join(t.TempDir(), "copy.db")
	storeVerb := func(args ...string) result {
		t.Helper()
		return dormouse(t, nil, append(append([]string{"store"}, args...), "--root", root)...)
	}
	storeVerb("check").expect(t, exitFailed, "!no host has had this root")
	storeVerb("backup", copied).expect(t, exitFailed, "!no host has had this root")
	h := startHost(t, root, bothExamples)
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "clone", "Counter", "Copy").expect(t, exitDone)
	storeVerb("check").expect(t, exitDone, path, "records", "No damage was found.")
	storeVerb("backup", copied).expect(t, exitDone, copied+" holds what "+path+" held now")
	storeVerb("backup", copied).expect(t, exitFailed, "!is there already; name a new file")
	storeVerb("backup").expect(t, exitUsage)
	h.dormouse(t, "plugin", "destroy", "Copy").expect(t, exitDone)
	h.end(t)

	var x store.Examination
	r := storeVerb("check", "-o", "json").expect(t, exitDone)
	if err := json.Unmarshal([]byte(r.out), &x); err != nil || x.Path != path || len(x.Tables) == 0 || len(x.Problems) > 0 {
		t.Errorf("got %+v, %v", x, err)
	}
	if err := os.Rename(copied, path); err != nil {
		t.Fatal(err)
	}
	h = startHost(t, root, bothExamples)
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "Copy")
	h.end(t)

	text, err := os.ReadFile(path)
	if err == nil {
		clear(text[4096:8192])
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	storeVerb("check").expect(t, exitFailed, "damaged: ", "!The next start of the host copies")
	h = startHost(t, root, bothExamples)
	h.wait(t, "ready")
	if log := h.log.String(); !strings.Contains(log, "rows were copied into a new file") || !strings.Contains(log, "the damaged file is kept as "+path) {
		t.Errorf("the log says nothing of it:\n%s", log)
	}
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "Copy")
	h.end(t)
	storeVerb("check").expect(t, exitDone, "No damage was found.")
}
