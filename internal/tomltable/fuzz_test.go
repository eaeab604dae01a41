package tomltable

import (
	"testing"

	"github.com/BurntSushi/toml"
)

// FuzzDecode holds that the lines of all keys of a document are found, and that a text that is
// not a document is refused on a line that it has.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"",
		"a = [1, # =\n 'b']\n[c]\n",
		"[[p]]\nc = \"A\"\ne = '''a'''\n[p.q]\nx = nan\n[[p]]\n",
		"p = [{c = \"A\", e = \"b\"}]\n",
		"[[plugin.x]]\n[[plugin.x]]\ny = \"\"\"\n=\\\"\"\"\"\"\n",
		"\ufeffhost.root = \"\\u0000\"\r\n",
		"\"\" = 1\n''.\"a]\" = {}\n[\"]#\"]\n",
		"a = 'a'\na = 'b'",
		"a = \"\"\"\\",
		"\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<12 {
			return
		}
		var faults LoadErrors
		if _, ok := (&File{Path: "f.toml", Dir: "/", Faults: &faults}).Decode(text); ok != (len(faults) == 0) {
			t.Errorf("ok is %v, the faults are %v", ok, faults)
		}
		var values map[string]any
		meta, err := toml.Decode(string(text), &values)
		if err == nil && firstLineWithBadByte(text) == 0 {
			if marks := findKeyStarts(string(text)); len(marks) != len(meta.Keys()) {
				t.Errorf("found the lines of %d keys, the library has %d: %v", len(marks), len(meta.Keys()), meta.Keys())
			}
		}
	})
}
