package schema

import (
	"errors"
	"strings"
	"testing"
)

const order = `{
	"type": "object",
	"properties": {
		"name": {"type": "string", "minLength": 2},
		"count": {"$ref": "#/$defs/count"},
		"a/b~c": {"const": 1},
		"lines": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number", "minimum": 0}}, "required": ["price"], "additionalProperties": false}},
		"point": {"prefixItems": [{"type": "number"}, {"type": "number"}], "items": false},
		"tree": {"$ref": "#/$defs/tree"},
		"either": {"anyOf": [{"type": "string"}, {"type": "number"}]}
	},
	"patternProperties": {"^x-": {}},
	"additionalProperties": {"type": "boolean"},
	"allOf": [{"properties": {"name": {"maxLength": 5}}}],
	"required": ["name"],
	"$defs": {"count": {"type": "integer", "maximum": 9}, "tree": {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}, "leaf": {"type": "string"}}}}
}`

func TestCheckSaysWhichMember(t *testing.T) {
	s, err := Compile([]byte(order))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ value, want string }{
		{`{"name":"ab","count":9,"lines":[{"price":0}],"point":[1,2],"flag":true,"x-y":1,"tree":{"left":{"leaf":""}},"either":1}`, ""},
		{`[]`, "the whole value does not fit: type"},
		{`{}`, "/name is missing"},
		{`{"name":7}`, "/name does not fit: type"},
		{`{"name":"a"}`, "/name does not fit: minLength"},
		{`{"name":"abcdef"}`, "/name does not fit: maxLength"},
		{`{"name":"ab","count":"x"}`, "/count does not fit: type"},
		{`{"name":"ab","count":10}`, "/count does not fit: maximum"},
		{`{"name":"ab","a/b~c":2}`, "/a~1b~0c does not fit: const"},
		{`{"name":"ab","lines":[{"price":1},{"price":-1}]}`, "/lines/1/price does not fit: minimum"},
		{`{"name":"ab","lines":[{}]}`, "/lines/0/price is missing"},
		{`{"name":"ab","lines":[{"price":1,"more":1}]}`, "/lines/0/more is not known"},
		{`{"name":"ab","point":[1,"2"]}`, "/point/1 does not fit: type"},
		{`{"name":"ab","point":[1,2,3]}`, "/point/2 does not fit"},
		{`{"name":"ab","flag":1}`, "/flag does not fit: type"},
		{`{"name":"ab","tree":{"left":{"left":{"leaf":1}}}}`, "/tree/left/left/leaf does not fit: type"},
		{`{"name":"ab","either":null}`, "/either does not fit: anyOf"},
		{`{`, "the whole value is not JSON"},
		{``, "the whole value does not fit: type"},
	} {
		err := s.CheckJSON([]byte(test.value))
		_, known := errors.AsType[*Error](err)
		if test.want == "" && err != nil || test.want != "" && (!known || !strings.HasPrefix(err.Error(), test.want)) {
			t.Errorf("%s: %v; want %s", test.value, err, test.want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                               "not valid JSON",
		`{"type":"text"}`:                 `there is no type "text"`,
		`{"items":{"type":"text"}}`:       `at "/items": there is no type "text"`,
		`{"$ref":"http://localhost:1/x"}`: "a schema may refer to itself only",
		`{"$schema":"http://json-schema.org/draft-07/schema#"}`: "only https://json-schema.org/draft/2020-12/schema is known",
		`{"pattern":"("}`:         "missing closing",
		`{"$ref":"#/$defs/none"}`: "none",
	} {
		if _, err := Compile([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", text, err, want)
		}
	}
}

// TestReferenceInCircles has a value located in a schema that refers to itself without end.
func TestReferenceInCircles(t *testing.T) {
	s, err := Compile([]byte(`{"properties":{"a":{"$ref":"#"}},"required":["b"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckJSON([]byte(`{"b":1,"a":{"b":1,"a":{}}}`)); err == nil || err.Error() != "/a/a/b is missing" {
		t.Errorf("got %v", err)
	}
}
