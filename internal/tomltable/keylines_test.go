package tomltable

import (
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// TestKeyLines lays names and lines side by side for a document with everything
// that could put them out of step: the value of each key is the line it is on.
func TestKeyLines(t *testing.T) {
	const doc = "\ufeff" + `# comment = 0
a.b = 2 # c = 0
"quoted = 0 [x]" . 'y#' = 3
text = """
not = 0
[[not]]
\""" not = 0"""""
raw = '''
not = 0''
'''
list = [ # not = 0
  1, "not = 0", [ ']' ],
  { in = 13 }, # }
]
empty = ""
inline = { one = 16, two.three = 16, "}" = [ 1, 2 ], four = { five = 16 } }

[ table . "x.y" ] # [not]
key = 19
'' = 20
[[array]]
n = 22
[array.sub]
n = 24
[[array]]
[[array.deep]]
n = 27
[[array.deep]]
n = 29`
	var values map[string]any
	meta, err := toml.Decode(doc, &values)
	if err != nil {
		t.Fatal(err)
	}
	top := linesOfKeys(doc, meta.Keys())
	array := top.keyOrSelf("array")
	got := map[string]int{
		"a.b":             top.keyOrSelf("a").keyOrSelf("b").line,
		"quoted":          top.keyOrSelf("quoted = 0 [x]").keyOrSelf("y#").line,
		"text":            top.keyOrSelf("text").line,
		"raw":             top.keyOrSelf("raw").line,
		"list":            top.keyOrSelf("list").line,
		"list.in":         top.keyOrSelf("list").keyOrSelf("in").line,
		"empty":           top.keyOrSelf("empty").line,
		"inline.three":    top.keyOrSelf("inline").keyOrSelf("two").keyOrSelf("three").line,
		"inline.five":     top.keyOrSelf("inline").keyOrSelf("four").keyOrSelf("five").line,
		"table":           top.keyOrSelf("table").line,
		"table.key":       top.keyOrSelf("table").keyOrSelf("x.y").keyOrSelf("key").line,
		"table.''":        top.keyOrSelf("table").keyOrSelf("x.y").keyOrSelf("").line,
		"array":           array.line,
		"array[0]":        array.elementOrSelf(0).line,
		"array[0].n":      array.elementOrSelf(0).keyOrSelf("n").line,
		"array[0].sub.n":  array.elementOrSelf(0).keyOrSelf("sub").keyOrSelf("n").line,
		"array[1]":        array.elementOrSelf(1).line,
		"array[1].deep.0": array.elementOrSelf(1).keyOrSelf("deep").elementOrSelf(0).keyOrSelf("n").line,
		"array[1].deep.1": array.elementOrSelf(1).keyOrSelf("deep").elementOrSelf(1).keyOrSelf("n").line,
		"beyond":          array.elementOrSelf(1).keyOrSelf("none").line,
	}
	want := map[string]int{
		"a.b": 2, "quoted": 3, "text": 4, "raw": 8, "list": 11, "list.in": 13,
		"empty": 15, "inline.three": 16, "inline.five": 16,
		"table": 18, "table.key": 19, "table.''": 20,
		"array": 21, "array[0]": 21, "array[0].n": 22, "array[0].sub.n": 24,
		"array[1]": 25, "array[1].deep.0": 27, "array[1].deep.1": 29, "beyond": 25,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"start-mode", "startup-order", "start-timeout", "stop-timeout", "on-call"}
	for word, want := range map[string]string{
		"start-mdoe":    "start-mode",
		"START_MODE":    "start-mode",
		"stop-timeuot":  "stop-timeout",
		"startup":       "startup-order",
		"on":            "",
		"oncall":        "on-call",
		"configuration": "",
		"":              "",
	} {
		if got := nearestSimilarWord(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
