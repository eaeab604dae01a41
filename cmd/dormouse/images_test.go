package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/hibernate/criu"
)

// ownCounter is one instance of a program that the test can replace.
const ownCounter = `
[[plugin]]
callsign = "Counter"
executable = "PROGRAM"
start-mode = "activated"
`

// copyOfCounter returns the path of a counter of the test's own.
func copyOfCounter(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "counter")
	text, err := os.ReadFile(filepath.Join(examples, "counter"))
	if err == nil {
		err = os.WriteFile(path, text, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestImagesOfSleepers(t *testing.T) {
	requireCRIU(t)
	root, program := t.TempDir(), copyOfCounter(t)
	images := func(args ...string) result {
		t.Helper()
		return dormouse(t, nil, append(append([]string{"images"}, args...), "--root", root)...)
	}
	images("list").expect(t, exitFailed, "!no host has had this root")
	images("check").expect(t, exitFailed, "!no host has had this root")
	h := startHost(t, root, strings.ReplaceAll(ownCounter, "PROGRAM", program))
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "suspend", "Counter").expect(t, exitDone)
	h.dormouse(t, "plugin", "hibernate", "--all").expect(t, exitDone, "Counter hibernated: ", "!hibernate: 1 of 1 done")

	images("list").expect(t, exitDone, "NAME", "Counter", "image", "yes")
	images("check").expect(t, exitDone)
	images("check", "--against", "/usr/share/nothing", "/lib/modules").expect(t, exitDone)
	images("check", "--against", program).expect(t, exitFailed, "Counter", program+" is to be replaced")
	images("check", "--against", program+"="+filepath.Join(examples, "counter")).expect(t, exitDone)
	images("check", "--against", program+"="+filepath.Join(examples, "echo")).expect(t, exitFailed, "Counter")
	images("check", "--kernel", "1.0").expect(t, exitFailed, "and 1.0 is to run")
	images("check", "--against").expect(t, exitUsage, "!come together")

	var records []imageRecord
	r := images("list", "-o", "json").expect(t, exitDone)
	if err := json.Unmarshal([]byte(r.out), &records); err != nil || len(records) != 1 || !records[0].Usable || records[0].Kind != "image" || records[0].Generation != 1 || records[0].Bytes == 0 {
		t.Errorf("got %v, %+v", err, records)
	}

	// An update of the program, which the host need not be there to see.
	if code := h.end(t); code != exitDone {
		t.Errorf("the host ended with code %d", code)
	}
	kept := program + ".kept"
	if err := os.Rename(program, kept); err != nil {
		t.Fatal(err)
	}
	images("check").expect(t, exitFailed, "Counter", "the plugin runs from "+program)
	images("list").expect(t, exitDone, "no: ", "the plugin runs from "+program)
	images("list", "--criu", "/nowhere/criu").expect(t, exitDone, "cannot run /nowhere/criu")
	if err := os.Rename(kept, program); err != nil {
		t.Fatal(err)
	}
	images("check").expect(t, exitDone)
	images("check", "--criu", "/nowhere/criu").expect(t, exitFailed, "cannot run /nowhere/criu")
}

// An instance that no file names any more keeps what it has, whatever clone wants its callsign.
func TestCloneGetsNothingOfAnEarlierInstance(t *testing.T) {
	requireCRIU(t)
	root := t.TempDir()
	both := ownCounter + strings.ReplaceAll(ownCounter, `"Counter"`, `"Old"`)
	h := startHost(t, root, strings.ReplaceAll(both, "PROGRAM", "EXAMPLES/counter"))
	h.wait(t, "ready")
	h.dormouse(t, "call", "Old.increment").expect(t, exitDone)
	h.dormouse(t, "plugin", "suspend", "Old").expect(t, exitDone)
	h.dormouse(t, "plugin", "hibernate", "Old").expect(t, exitDone)
	h.end(t)

	h = startHost(t, root, strings.ReplaceAll(ownCounter, "PROGRAM", "EXAMPLES/counter"))
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "clone", "Counter", "Old").expect(t, exitFailed, "!an earlier instance of that name has left", "!images/Old/image")
	h.dormouse(t, "plugin", "clone", "Counter", "Young").expect(t, exitDone)
	h.end(t)

	h = startHost(t, root, strings.ReplaceAll(both, "PROGRAM", "EXAMPLES/counter"))
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "wake", "Old").expect(t, exitDone, "Old woken")
	h.dormouse(t, "call", "Old.get").expect(t, exitDone, `{"value":1}`)
}

func TestPlannedUpdateReadsLines(t *testing.T) {
	store := imageStore{engine: criu.Open("/nowhere/criu", t.TempDir())}
	u, err := store.plannedUpdate(strings.NewReader("/a\n\n/b=/c\n"), "6.1", []string{"-", "/d"})
	if err != nil || u.Kernel != "6.1" || u.Engine != "" {
		t.Errorf("got %+v, %v", u, err)
	}
	for path, want := range map[string]string{"/a": "", "/b": "/c", "/d": ""} {
		if newPath, isReplaced := u.NewFile(path); !isReplaced || newPath != want {
			t.Errorf("%s: got %q, %v, want %q", path, newPath, isReplaced, want)
		}
	}
	if _, isReplaced := u.NewFile("/c"); isReplaced {
		t.Error("a new file is taken for one that is replaced")
	}
	u, err = store.plannedUpdate(nil, "", []string{"/nowhere/criu"})
	if err != nil || u.Engine != "another CRIU" {
		t.Errorf("got %+v, %v, want that CRIU is replaced", u, err)
	}
}
