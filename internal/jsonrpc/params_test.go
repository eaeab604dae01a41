package jsonrpc

import (
	"encoding/json"
	"testing"
)

// Each fault of parameters is told by the name of the parameter, in words without names of Go.
func TestDecodeParams(t *testing.T) {
	type nested struct {
		Name string `json:"name"`
	}
	for _, c := range []struct{ params, want string }{
		{``, ""}, {` `, ""}, {`null`, ""}, {`{}`, ""},
		{`{"text":"a","flag":true,"count":1,"size":2,"share":0.5,"keys":[1],"bytes":"YQ==","inner":{"name":"b"}}`, ""},
		{`{"text":1}`, `"text" must be a string, not a number`},
		{`{"text":["a"]}`, `"text" must be a string, not an array`},
		{`{"text":{"a":1}}`, `"text" must be a string, not an object`},
		{`{"text":false}`, `"text" must be a string, not true or false`},
		{`{"flag":"yes"}`, `"flag" must be true or false, not a string`},
		{`{"count":1.5}`, `"count" must be a whole number, not 1.5`},
		{`{"count":"1"}`, `"count" must be a whole number, not a string`},
		{`{"size":-1}`, `"size" must be a whole number of at least 0, not -1`},
		{`{"share":"1"}`, `"share" must be a number, not a string`},
		{`{"keys":1}`, `"keys" must be an array, not a number`},
		{`{"keys":["1"]}`, `"keys" must be a whole number, not a string`},
		{`{"bytes":1}`, `"bytes" must be a string of base64, not a number`},
		{`{"bytes":"a*"}`, `a value that must be base64 is not, at its character 2`},
		{`{"inner":1}`, `"inner" must be an object, not a number`},
		{`{"inner":{"name":1}}`, `"inner.name" must be a string, not a number`},
		{`{"inner":{"nome":1}}`, `"nome" is not known here`},
		{`{"txt":"a"}`, `"txt" is not known here`},
		{`[1]`, `the whole must be an object, not an array`},
		{`"a"`, `the whole must be an object, not a string`},
		{`{"text":`, `the JSON ends too early`},
		{`{} {}`, `there is more than one JSON value`},
	} {
		var to struct {
			Text  string  `json:"text"`
			Flag  bool    `json:"flag"`
			Count int     `json:"count"`
			Size  uint    `json:"size"`
			Share float64 `json:"share"`
			Keys  []int64 `json:"keys"`
			Bytes []byte  `json:"bytes"`
			Inner *nested `json:"inner"`
		}
		got := ""
		if err := DecodeParams(json.RawMessage(c.params), &to); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q instead of %q", c.params, got, c.want)
		}
	}
}

// A wrong member of an embedded struct is named as in JSON.
func TestDecodeParamsEmbedded(t *testing.T) {
	type inner struct {
		Owner string `json:"owner"`
	}
	type outer struct {
		inner

		Key string `json:"key"`
	}
	type outermost struct {
		outer

		Value int `json:"value"`
	}
	for params, want := range map[string]string{
		`{"owner":7}`:   `"owner" must be a string, not a number`,
		`{"key":7}`:     `"key" must be a string, not a number`,
		`{"value":"7"}`: `"value" must be a whole number, not a string`,
	} {
		if err := DecodeParams(json.RawMessage(params), &outermost{}); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", params, err, want)
		}
	}
}
