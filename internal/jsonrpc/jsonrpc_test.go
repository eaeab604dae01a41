package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	const notRequest = "the message is not a JSON-RPC request: "
	for _, tt := range []struct {
		name, message string
		want          string // "id method params" or the error of each request
	}{
		{"all members", `{"jsonrpc":"2.0","id":1,"method":"a.b","params":{"x":[1,"}"]}}`, `1 a.b {"x":[1,"}"]}`},
		{"nothing but a method", `{"method":"a"}`, `- a -`},
		{"space everywhere", " \n{ \"method\" :\t\"a\" ,\r\"params\" : [ 1 , 2 ] , \"id\" : 3 } ", `3 a [ 1 , 2 ]`},
		{"other version", `{"jsonrpc":1,"id":1,"method":"a"}`, `1 a -`},
		{"unknown members", `{"id":1,"method":"a","token":"x","token":"y","ID":2,"Method":"b"}`, `1 a -`},
		{"escaped names and method", `{"\u0069d":1,"m\u0065thod":"\u0061\"\/"}`, `1 a"/ -`},
		{"string id as it came", `{"id":"\u0061","method":"a"}`, `"\u0061" a -`},
		{"null id", `{"id":null,"method":"a"}`, `null a -`},
		{"negative id", `{"id":-1,"method":"a"}`, `-1 a -`},
		{"largest id", `{"id":9007199254740992,"method":"a"}`, `9007199254740992 a -`},
		{"id too large for JavaScript", `{"id":9007199254740993,"method":"a"}`, `9007199254740993 a -`},
		{"id of many digits", `{"id":-123456789012345678901234567890,"method":"a"}`, `-123456789012345678901234567890 a -`},
		{"id with a zero fraction", `{"id":1.0,"method":"a"}`, `1.0 a -`},
		{"id with a fraction", `{"id":-1.50,"method":"a"}`, `-1.50 a -`},
		{"id with an exponent", `{"id":1e3,"method":"a"}`, `1e3 a -`},
		{"id with all of a number", `{"id": -1.250E+400 ,"method":"a"}`, `-1.250E+400 a -`},
		{"string of digits", `{"id":"1.0","method":"a"}`, `"1.0" a -`},
		{"null params are none", `{"id":1,"method":"a","params":null}`, `1 a -`},
		{"params of any type", `{"id":1,"method":"a","params":false}`, `1 a false`},
		{"empty method", `{"id":1,"method":""}`, `1  -`},

		{"id of another type", `{"id":[1],"method":"a"}`, notRequest + "its id is neither a number nor a string"},
		{"two ids", `{"id":1,"id":1,"method":"a"}`, notRequest + "it has more than one id"},
		{"two methods, one escaped", `{"method":"a","meth\u006fd":"a"}`, notRequest + "it has more than one method"},
		{"two params", `{"method":"a","params":null,"params":1}`, notRequest + "it has more than one params"},
		{"no method", `{"id":1}`, notRequest + "it has no method"},
		{"method of another type", `{"id":1,"method":1}`, notRequest + "its method is not a string"},

		{"batch", ` [ {"id":1,"method":"a"} , {"method":"b"} , 3 , {} ] `,
			"1 a -\n- b -\n" + notRequest + "an element of the batch is not an object\n" + notRequest + "it has no method"},
		{"largest batch", "[" + strings.Repeat(`{"method":"a"},`, MaxBatch-1) + `{"method":"a"}]`, strings.Repeat("- a -\n", MaxBatch-1) + "- a -"},
		{"deepest", `{"method":"a","params":` + nested(MaxDepth-1) + `}`, "- a " + nested(MaxDepth-1)},
		{"8 MB of params", `{"method":"a","params":[` + strings.Repeat("0,", 4<<20) + `0]}`, "- a [" + strings.Repeat("0,", 4<<20) + "0]"},
		{"names in another case are other names", `{"ID":1,"id":2,"METHOD":"b","method":"a","Params":1}`, `2 a -`},
		{"zero and minus zero", `[{"id":0,"method":"a"},{"id":-0,"method":"a"}]`, "0 a -\n-0 a -"},
		{"empty string id", `{"id":"","method":"a"}`, `"" a -`},
		{"true id", `{"id":true,"method":"a"}`, notRequest + "its id is neither a number nor a string"},
		{"batch of batches", `[[{"method":"a"}],[]]`, notRequest + "an element of the batch is not an object\n" + notRequest + "an element of the batch is not an object"},
		{"brackets in strings", `{"method":"a","params":"` + strings.Repeat("[", 100) + `\"["}`, `- a "` + strings.Repeat("[", 100) + `\"["`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Split([]byte(tt.message))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range m.Requests {
				if r.Err != nil {
					if !errors.Is(r.Err, ErrInvalid) {
						t.Errorf("%v does not wrap ErrInvalid", r.Err)
					}
					got = append(got, r.Err.Error())
					continue
				}
				got = append(got, fmt.Sprintf("%s %s %s", dash(r.ID), r.Method, dash(r.Params)))
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if m.Batch != strings.HasPrefix(strings.TrimSpace(tt.message), "[") {
				t.Errorf("batch = %v", m.Batch)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, message string
		kind          error
		want          string
	}{
		{"nothing", "", ErrSyntax, "unexpected end of JSON input"},
		{"space", " ", ErrSyntax, "unexpected end of JSON input"},
		{"half an object", `{"method":"a"`, ErrSyntax, "unexpected end of JSON input"},
		{"two objects", `{"method":"a"}{"method":"b"}`, ErrSyntax, "invalid character '{' after top-level value"},
		{"trailing comma", `{"method":"a",}`, ErrSyntax, "invalid character '}' looking for beginning of object key string"},
		{"not UTF-8", "{\"method\":\"\xff\"}", ErrSyntax, "it is not UTF-8"},
		{"byte order mark", "\ufeff{}", ErrSyntax, "invalid character 'ï' looking for beginning of value"},
		{"a string", `"a"`, ErrInvalid, "it is neither an object nor an array"},
		{"empty batch", "[ ]", ErrInvalid, "the batch is empty"},
		{"batch of 8 MB", "[" + strings.Repeat("0,", 4<<20) + "0]", ErrInvalid, "a batch holds at most 100 requests"},
		{"not UTF-8 in a name", "{\"\xc3\":1,\"method\":\"a\"}", ErrSyntax, "it is not UTF-8"},
		{"batch too large", "[" + strings.Repeat("{},", MaxBatch) + "{}]", ErrInvalid, "a batch holds at most 100 requests"},
		{"too deep", `{"method":"a","params":` + nested(MaxDepth) + `}`, ErrInvalid, "it is nested deeper than 64 levels"},
		{"far too deep", strings.Repeat("[", 1<<20), ErrSyntax, "exceeded max depth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Split([]byte(tt.message))
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %v with %q", err, tt.kind, tt.want)
			}
		})
	}
}

func TestFields(t *testing.T) {
	for _, tt := range []struct{ params, want string }{
		{`{}`, `map[]`},
		{` { "a" : 1 , "A" : [2] , "\u0062":"}"}`, `map[A:[2] a:1 b:"}"]`},
		{`{"a":1,"\u0061":2}`, `params have more than one "a"`},
		{`[]`, `params are not an object`},
		{``, `params are not JSON`},
	} {
		fields, err := Fields(json.RawMessage(tt.params))
		got := fmt.Sprintf("%s", fields)
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("Fields(%s) = %s, want %s", tt.params, got, tt.want)
		}
	}
}

func TestAppend(t *testing.T) {
	for _, tt := range []struct {
		value interface{ Append([]byte) []byte }
		want  string
	}{
		{Response{ID: json.RawMessage(`1`)}, `{"jsonrpc":"2.0","id":1,"result":null}`},
		{Response{ID: json.RawMessage(`"x"`), Result: json.RawMessage(`{"a": 1}`)}, `{"jsonrpc":"2.0","id":"x","result":{"a": 1}}`},
		{Response{ID: Null, Error: &Error{Code: -1, Message: "a\"b\\\n\x01<é\xff"}}, `{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"a\"b\\\n\u0001<é` + "\ufffd" + `"}}`},
		{Response{Error: &Error{Code: 5, Data: json.RawMessage(`[]`)}}, `{"jsonrpc":"2.0","error":{"code":5,"message":"","data":[]}}`},
		{Notification{Method: "id.event@X"}, `{"jsonrpc":"2.0","method":"id.event@X"}`},
		{Notification{Method: "e", Params: json.RawMessage(`{}`)}, `{"jsonrpc":"2.0","method":"e","params":{}}`},
	} {
		got := string(tt.value.Append([]byte("before ")))
		if diff := cmp.Diff("before "+tt.want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"Controller.1.status@X","params":{"a":[1,"\"}"]}}`,
		`[{"id":"a","method":"b"},{"method":"c","params":null},7,[],{}]`,
		`{"id":9007199254740993,"id":null}`, `{"id":-1.0e+3,"method":"a"}`, `{"id":1.0,"method":"a"}`, `{"id":01,"method":"a"}`, `{"m\u0065thod":"\ud800"}`, `[]`, `{`, "\xff", `""`, nested(70),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		before := bytes.Clone(message)
		m, err := Split(message)
		if !bytes.Equal(before, message) {
			t.Fatal("the message was changed")
		}
		if err != nil {
			if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrInvalid) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if len(m.Requests) == 0 || len(m.Requests) > MaxBatch || !m.Batch && len(m.Requests) != 1 {
			t.Fatalf("%d requests, batch %v", len(m.Requests), m.Batch)
		}
		for _, r := range m.Requests {
			answer := Response{ID: r.ID, Result: r.Params}
			if r.Err != nil {
				answer.Error = &Error{Message: r.Err.Error()}
			}
			for _, rendered := range [][]byte{answer.Append(nil), Notification{r.Method, r.Params}.Append(nil)} {
				if !json.Valid(rendered) {
					t.Fatalf("rendered %s", rendered)
				}
			}
		}
		checkAgainstStandard(t, message, m)
	})
}

// checkAgainstStandard compares what was read with what encoding/json reads: the members,
// and which values are ids.
func checkAgainstStandard(t *testing.T, message []byte, m Message) {
	t.Helper()
	if m.Batch {
		return
	}
	var want map[string]json.RawMessage
	if err := json.Unmarshal(message, &want); err != nil {
		t.Fatal(err)
	}
	if err := m.Requests[0].Err; err != nil {
		if strings.Contains(err.Error(), "neither a number nor a string") && m.Requests[0].ID == nil && isID(want["id"]) {
			t.Fatalf("id %s: %v", want["id"], err)
		}
		return
	}
	if id := want["id"]; id != nil && !isID(id) {
		t.Fatalf("%s is taken for an id", id)
	}
	var method string
	if err := json.Unmarshal(want["method"], &method); err != nil || method != m.Requests[0].Method {
		t.Fatalf("method %q, want %q (%v)", m.Requests[0].Method, method, err)
	}
	params := want["params"]
	if string(params) == "null" {
		params = nil
	}
	if !bytes.Equal(params, m.Requests[0].Params) || !bytes.Equal(want["id"], m.Requests[0].ID) {
		t.Fatalf("got %+v, want %s", m.Requests[0], want)
	}
}

// isID reports whether encoding/json reads the value as a number, a string or null.
func isID(value json.RawMessage) bool {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var v any
	if decoder.Decode(&v) != nil {
		return false
	}
	switch v.(type) {
	case nil, string, json.Number:
		return true
	}
	return false
}

func BenchmarkParse(b *testing.B) {
	message := []byte(`{"jsonrpc":"2.0","id":4711,"method":"Counter.1.increment","params":{"by":1,"text":"` + strings.Repeat("x", 1000) + `"}}`)
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Split(message); err != nil {
			b.Fatal(err)
		}
	}
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func dash(raw json.RawMessage) string {
	if raw == nil {
		return "-"
	}
	return string(raw)
}
