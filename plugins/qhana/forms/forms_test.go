package forms_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/plugins/qhana/forms"
)

// every is a schema with a property of each kind.
const every = `{
	"type": "object",
	"properties": {
		"name": {"type": "string", "title": "Your <name>", "maxLength": 9},
		"count": {"type": "integer", "minimum": 1, "default": 3},
		"rate": {"type": "number"},
		"loud": {"type": "boolean"},
		"method": {"enum": ["nelder_mead", "bfgs", 5]},
		"features": {"type": "string", "format": "uri"},
		"tags": {"type": "array", "items": {"type": "integer"}},
		"kinds": {"type": "array", "items": {"enum": ["a", "b"]}},
		"more": {"type": "object"},
		"maybe": {"type": ["number", "null"]},
		"shared": {"$ref": "#/$defs/level"},
		"any": {}
	},
	"$defs": {"level": {"type": "integer", "maximum": 10}},
	"required": ["name", "features"],
	"additionalProperties": false
}`

func parse(t *testing.T, text string, inputs ...forms.Input) *forms.Schema {
	t.Helper()
	s, err := forms.Parse(json.RawMessage(text), inputs...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFromForm(t *testing.T) {
	for _, test := range []struct{ form, want string }{
		{"name=ann&features=http://a.example/1", `{"name":"ann","features":"http://a.example/1"}`},
		{"name=ann&features=data:,x&count=7&rate=1.5&loud=false&loud=true&method=bfgs", `{"name":"ann","features":"data:,x","count":7,"rate":1.5,"loud":true,"method":"bfgs"}`},
		{"name=ann&features=http://a&method=5", `{"name":"ann","features":"http://a","method":5}`},
		{"name=ann&features=http://a&tags=1&tags=2&kinds=b", `{"name":"ann","features":"http://a","tags":[1,2],"kinds":["b"]}`},
		{"name=ann&features=http://a&tags=1%0D%0A2%0D%0A&kinds=%5B%22a%22%5D", `{"name":"ann","features":"http://a","tags":[1,2],"kinds":["a"]}`},
		{"name=ann&features=http://a&more=%7B%22x%22:1%7D&maybe=2&shared=4", `{"name":"ann","features":"http://a","more":{"x":1},"maybe":2,"shared":4}`},
		{"name=ann&features=http://a&any=1&any=2", `{"name":"ann","features":"http://a","any":["1","2"]}`},
		{"name=ann&features=http://a&count=&rate=&loud=", `{"name":"ann","features":"http://a"}`},
	} {
		form, err := url.ParseQuery(test.form)
		if err != nil {
			t.Fatal(err)
		}
		got, errors := parse(t, every).FromForm(form)
		if len(errors) > 0 {
			t.Errorf("%s: %v", test.form, errors)
			continue
		}
		if diff := cmp.Diff(decode(t, test.want), decode(t, string(got))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.form, diff)
		}
	}
}

func decode(t *testing.T, text string) (value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestWrongForm(t *testing.T) {
	for _, test := range []struct {
		form string
		want forms.Errors
	}{
		{"", forms.Errors{"name": {"Missing data for required field."}, "features": {"Missing data for required field."}}},
		{"name=&features=http://a", forms.Errors{"name": {"Missing data for required field."}}},
		{"name=ann&features=feature", forms.Errors{"features": {"Not a valid URL."}}},
		{"name=ann&features=http://a&count=x&rate=NaN&loud=maybe&more=%7B", forms.Errors{
			"count": {"Not a valid integer."}, "rate": {"Not a valid number."}, "loud": {"Not a valid boolean."}, "more": {"Not valid JSON."},
		}},
		{"name=ann&features=http://a&method=other", forms.Errors{"method": {"Must be one of: nelder_mead, bfgs, 5."}}},
		{"name=%ff&features=http://a", forms.Errors{"name": {"Not valid UTF-8."}}},
		{"name=ann&features=http://a&tags=1&tags=x", forms.Errors{"tags": {"Not a valid integer."}}},
	} {
		form, err := url.ParseQuery(test.form)
		if err != nil {
			t.Fatal(err)
		}
		_, got := parse(t, every).FromForm(form)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.form, diff)
		}
	}
	for form, wrong := range map[string]string{
		"name=0123456789&features=http://a":     "name",
		"name=ann&features=http://a&count=0":    "count",
		"name=ann&features=http://a&shared=11":  "shared",
		"name=ann&features=http://a&unknown=11": "unknown",
	} {
		values, err := url.ParseQuery(form)
		if err != nil {
			t.Fatal(err)
		}
		_, got := parse(t, every).FromForm(values)
		if len(got) != 1 || len(got[wrong]) == 0 || strings.Contains(strings.Join(got[wrong], " "), "validating") {
			t.Errorf("%q: %v; want one error at %s", form, got, wrong)
		}
	}
}

func TestFromJSON(t *testing.T) {
	s := parse(t, every)
	for text, want := range map[string]string{
		`{"name": "ann", "features": "http://a", "count": 9007199254740993}`: `{"name": "ann", "features": "http://a", "count": 9007199254740993}`,
		``:                  `missing`,
		`[]`:                `Invalid input type: a JSON object is needed.`,
		`null`:              `Invalid input type: a JSON object is needed.`,
		`{"name": "ann"`:    `Invalid input type: a JSON object is needed.`,
		"{\"a\": \"\xff\"}": `Not valid UTF-8.`,
	} {
		got, errors := s.FromJSON([]byte(text))
		switch {
		case strings.HasPrefix(want, "{"):
			if string(got) != want || errors != nil {
				t.Errorf("%s: %s, %v; want %s", text, got, errors, want)
			}
		case want == "missing":
			if len(errors["name"]) != 1 || len(errors["features"]) != 1 {
				t.Errorf("nothing: %v", errors)
			}
		default:
			if diff := cmp.Diff(forms.Errors{forms.Whole: {want}}, errors); diff != "" {
				t.Errorf("%s (-want +got):\n%s", text, diff)
			}
		}
	}
}

// Without a schema everything is taken, except inputs that are missing.
func TestInputs(t *testing.T) {
	s := parse(t, "", forms.Input{Name: "data", Required: true}, forms.Input{Name: "target"})
	if _, errors := s.FromForm(url.Values{"x": {"1"}}); len(errors["data"]) != 1 || len(errors) != 1 {
		t.Errorf("without a required input: %v", errors)
	}
	got, errors := s.FromForm(url.Values{"x": {"1"}, "data": {"http://a.example"}})
	if len(errors) > 0 || !cmp.Equal(decode(t, `{"x":"1","data":"http://a.example"}`), decode(t, string(got))) {
		t.Errorf("%s, %v", got, errors)
	}
	if got, errors := parse(t, "").FromJSON(nil); string(got) != "{}" || len(errors) > 0 {
		t.Errorf("nothing for no schema: %s, %v", got, errors)
	}
}

func TestBadSchema(t *testing.T) {
	for _, text := range []string{`{`, `{"type": 5}`, `{"$ref": "http://a.example/schema"}`, `{"properties": {"a": {"pattern": "("}}}`} {
		if _, err := forms.Parse(json.RawMessage(text)); err == nil {
			t.Errorf("%s is taken for a schema", text)
		}
	}
}

func TestPage(t *testing.T) {
	var b strings.Builder
	err := parse(t, every).Write(&b, forms.Page{Title: "Run <b>", Description: `"quoted" & <i>`, Action: `http://a.example/?callback=%22><script>`})
	if err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		`<form method="post" action="http://a.example/?callback=%22%3e%3cscript%3e"`,
		`<h1>Run &lt;b&gt;</h1>`, `&#34;quoted&#34; &amp; &lt;i&gt;`,
		`<label for="f0">Your &lt;name&gt; *</label>`,
		`<input id="f0" name="name" type="text" value="" maxlength="9" required>`,
		`<input id="f1" name="count" type="number" value="3" min="1">`,
		`<input id="f2" name="rate" type="number" value="" step="any">`,
		`<input type="hidden" name="loud" value="false"><input id="f3" name="loud" type="checkbox" value="true">`,
		"<select id=\"f4\" name=\"method\">\n<option value=\"\"></option>\n<option value=\"nelder_mead\">nelder_mead</option>",
		`<input id="f5" name="features" type="url" value="" required>`,
		`<textarea id="f6" name="tags"`, `<select id="f7" name="kinds" multiple>`, `<textarea id="f8" name="more"`,
		`<input id="f10" name="shared" type="number" value="" max="10">`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %s\n%s", want, got)
		}
	}
	if strings.Contains(got, "<script>") || strings.Contains(got, "<i>") {
		t.Error("the page has elements of the plugin's texts")
	}
}

// A page that shows errors keeps what was typed, and runs no name, value or error.
func TestPageWithErrors(t *testing.T) {
	values := url.Values{"name": {`"><script>alert(1)</script>`}, "count": {"x"}, "loud": {"false", "true"}, "method": {"bfgs"}}
	s := parse(t, every)
	_, errors := s.FromForm(values)
	errors["<b>"] = []string{"no such field"}
	var b strings.Builder
	if err := s.Write(&b, forms.Page{Title: "x", Values: values, Errors: errors}); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		`value="&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"`, `type="number" value="x"`, `value="true" checked>`,
		`<option value="bfgs" selected>`, `<span class="error">Not a valid integer.</span>`,
		`<p class="error">&lt;b&gt;: no such field</p>`, `<span class="error">Missing data for required field.</span>`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %s\n%s", want, got)
		}
	}
	if strings.Contains(got, "<script>") {
		t.Error("the page has a script")
	}
}

func TestPassword(t *testing.T) {
	var b strings.Builder
	s := parse(t, `{"properties": {"secret": {"type": "string", "writeOnly": true}}}`)
	if err := s.Write(&b, forms.Page{Title: "x", Values: url.Values{"secret": {"hush"}}}); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Contains(got, "hush") || !strings.Contains(got, `type="password"`) {
		t.Errorf("a secret is shown:\n%s", got)
	}
}
