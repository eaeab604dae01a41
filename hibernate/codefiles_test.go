package hibernate

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/hibernate/pack"
)

func TestCheckCode(t *testing.T) {
	tagger, err := pack.NewTagger(make([]byte, 32), "image")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(path string) error
		class  FailureClass // empty if the file passes
	}{
		"the same":         {change: func(string) error { return nil }},
		"touched":          {change: func(path string) error { return os.WriteFile(path, []byte("code"), 0o700) }},
		"an equal copy":    {change: func(path string) error { return replaceFile(path, "code") }},
		"one byte changed": {change: func(path string) error { return os.WriteFile(path, []byte("c0de"), 0o700) }, class: Lasting},
		"another build":    {change: func(path string) error { return replaceFile(path, "other code") }, class: Lasting},
		"gone":             {change: removeAmongOthers, class: Lasting},
		"not mounted":      {change: os.Remove, class: Passing},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(path, []byte("code"), 0o700); err != nil {
				t.Fatal(err)
			}
			m, err := statCodeFile(path)
			if err == nil {
				m.Tag, err = m.computeTag(tagger, 1)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
			err = checkCodeUnchanged([]codeFile{m}, tagger)
			if (err != nil) != (test.class != "") || err != nil && ClassifyFailure(err) != test.class {
				t.Errorf("error %v, want one of class %q", err, test.class)
			}
		})
	}
}

// What was read of the code while the tree ran is taken over only if the file is still the
// same one, and no number is given twice: a number makes the nonce of a tag.
func TestDescribeCode(t *testing.T) {
	tagger, err := pack.NewTagger(make([]byte, 32), "image")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	load := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := replaceFile(path, text); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		data, err := syscall.Mmap(int(f.Fd()), 0, 1, syscall.PROT_EXEC, syscall.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Munmap(data) })
	}
	describe := func(known []codeFile) map[string]codeFile {
		t.Helper()
		files, err := describeCode([]int{os.Getpid()}, tagger, known)
		if err != nil {
			t.Fatal(err)
		}
		byName := make(map[string]codeFile)
		numbers := make(map[uint32]bool)
		for _, f := range files {
			if numbers[f.Number] || f.Number == 0 {
				t.Errorf("the number %d of %s is not its own", f.Number, f.Path)
			}
			numbers[f.Number] = true
			byName[filepath.Base(f.Path)] = f
		}
		if err := checkCodeUnchanged(files, tagger); err != nil {
			t.Error(err)
		}
		return byName
	}
	load("same", "one")
	load("changed", "one")
	running := describe(nil)
	if err := os.WriteFile(filepath.Join(dir, "changed"), []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	load("loaded later", "one")
	stopped := describe(slices.Collect(maps.Values(running)))
	if diff := cmp.Diff(running["same"], stopped["same"]); diff != "" {
		t.Error(diff)
	}
	was, is := running["changed"], stopped["changed"]
	if was.Number == is.Number || bytes.Equal(was.Tag, is.Tag) {
		t.Errorf("it was %+v, and is %+v after a change", was, is)
	}
	if later := stopped["loaded later"]; later.Tag == nil {
		t.Errorf("it is %+v", later)
	}
}

// removeAmongOthers removes a file from a directory that has another one.
func removeAmongOthers(path string) error {
	return errors.Join(os.WriteFile(path+".other", nil, 0o600), os.Remove(path))
}

func replaceFile(path, text string) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, []byte(text), 0o700); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// An image uses the files that its code lies in, and no others; a manifest of another host says
// nothing.
func TestUsesCodeIn(t *testing.T) {
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write := func(name string, key []byte, path string) {
		t.Helper()
		dir := filepath.Join(s.dir, name, "image")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := writeSealedJSON(filepath.Join(dir, manifestName), key, manifest{Code: []codeFile{{Path: path}}}); err != nil {
			t.Fatal(err)
		}
	}
	write("One", s.key, "/packages/one/bin/plugin")
	write("Foreign", make([]byte, 32), "/packages/foreign/bin/plugin")
	for dir, want := range map[string]bool{"/packages/one": true, "/packages/on": false, "/packages/foreign": false, "/packages/two": false} {
		if uses, err := s.UsesCodeIn(dir); uses != want || err != nil {
			t.Errorf("uses %s: %t, %v", dir, uses, err)
		}
	}
}
