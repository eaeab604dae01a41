package jsonrpc

import "testing"

// The id of a message is found as far as the message is there.
func TestFindID(t *testing.T) {
	for message, want := range map[string]string{
		`{"jsonrpc":"2.0","id":7,"method":"A.1.b","params":{"x":"yyyy`: "7",
		`{"method":"A.1.b","params":{"id":1},"id":"seven"}`:            `"seven"`,
		`{"method":"A.1.b","params":{"id":1`:                           "",
		`{"method":"A.1.b"}`:                                           "",
		`{"id":[1],"method":"x"}`:                                      "",
		`[{"id":1}]`:                                                   "",
		`{"id":12`:                                                     "",
		``:                                                             "",
	} {
		if got := string(FindID([]byte(message))); got != want {
			t.Errorf("%s: got %q, want %q", message, got, want)
		}
	}
}
