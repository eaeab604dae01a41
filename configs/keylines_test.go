package configs

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
	array := top.key("array")
	got := map[string]int{
		"a.b":             top.key("a").key("b").line,
		"quoted":          top.key("quoted = 0 [x]").key("y#").line,
		"text":            top.key("text").line,
		"raw":             top.key("raw").line,
		"list":            top.key("list").line,
		"list.in":         top.key("list").key("in").line,
		"empty":           top.key("empty").line,
		"inline.three":    top.key("inline").key("two").key("three").line,
		"inline.five":     top.key("inline").key("four").key("five").line,
		"table":           top.key("table").line,
		"table.key":       top.key("table").key("x.y").key("key").line,
		"table.''":        top.key("table").key("x.y").key("").line,
		"array":           array.line,
		"array[0]":        array.element(0).line,
		"array[0].n":      array.element(0).key("n").line,
		"array[0].sub.n":  array.element(0).key("sub").key("n").line,
		"array[1]":        array.element(1).line,
		"array[1].deep.0": array.element(1).key("deep").element(0).key("n").line,
		"array[1].deep.1": array.element(1).key("deep").element(1).key("n").line,
		"beyond":          array.element(1).key("none").line,
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
		if got := nearestWord(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
