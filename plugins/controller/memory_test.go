package controller

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"dormouse/internal/jsonrpc"
	"dormouse/plugins/peer"
)

// noRoom is the error of a call that the memory has no room for.
const noRoom = `{"code":12,"message":"ERROR_INPROGRESS","data":{"cause":"cannot take the call: too many bytes are on their way for this client at the same time","retryAfterMs":1000}}`

// long is a string of so many KiB in JSON.
func long(kib int) string { return `"` + strings.Repeat("x", kib<<10) + `"` }

// A websocket that has used up its share gets an error for the next call, with the call's id,
// and another client does not notice. Once a call has ended there is room again.
func TestCallsBeyondTheShare(t *testing.T) {
	h := newHost(t, setup{options: Options{Memory: peer.NewMemory(8<<20, 1<<20)}})
	greedy, modest := h.dial(t, "/jsonrpc"), h.dial(t, "/jsonrpc")
	for range 2 {
		greedy.send(call("Plain.1.wait", long(250)))
		<-h.plugins["Plain"].entered
	}
	greedy.send(`{"jsonrpc":"2.0","id":7,"method":"Plain.1.echo","params":` + long(250) + `}`)
	greedy.expect(`{"jsonrpc":"2.0","id":7,"error":` + noRoom + `}`)
	modest.send(call("Plain.1.echo", long(100)))
	modest.expect(`{"jsonrpc":"2.0","id":1,"result":` + long(100) + `}`)
	close(h.plugins["Plain"].release)
	for range 2 {
		greedy.expect(`{"jsonrpc":"2.0","id":1,"result":"waited"}`)
	}
	greedy.send(call("Plain.1.echo", long(250)))
	greedy.expect(`{"jsonrpc":"2.0","id":1,"result":` + long(250) + `}`)
}

// A request whose peer has used up what it may have is answered 503, in JSON.
func TestBodiesBeyondTheMemory(t *testing.T) {
	h := newHost(t, setup{options: Options{Memory: peer.NewMemory(1<<20, 1<<20)}})
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		if status, answer := h.post(t, "/jsonrpc", call("Plain.1.wait", long(250))); status != http.StatusOK {
			t.Errorf("%d %s", status, answer)
		}
	})
	<-h.plugins["Plain"].entered
	status, answer := h.post(t, "/jsonrpc", call("Plain.1.echo", long(400)))
	if want := `{"jsonrpc":"2.0","id":null,"error":` + noRoom + `}`; status != http.StatusServiceUnavailable || answer != want {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := h.post(t, "/jsonrpc", call("Plain.1.echo", "7")); status != http.StatusOK {
		t.Errorf("a small one: %d %s", status, answer)
	}
	close(h.plugins["Plain"].release)
}

// An answer that the client has no room for is dropped, and the client told that the call was
// carried out.
func TestAnswerBeyondTheShare(t *testing.T) {
	h := newHost(t, setup{options: Options{Memory: peer.NewMemory(8<<20, 128<<10)}})
	c := h.dial(t, "/jsonrpc")
	batch := "[" + call("Plain.1.event", "1")
	for range 99 {
		batch += "," + `{"jsonrpc":"2.0","id":1,"method":"Controller.1.status"}`
	}
	c.send(batch + "]")
	var answers []jsonrpc.Response
	text := c.receive()
	if err := json.Unmarshal([]byte(text), &answers); err != nil {
		t.Fatalf("%v: %.300s", err, text)
	}
	dropped := 0
	for _, a := range answers {
		if a.Error != nil {
			dropped++
			if a.Error.Code != 25 || !strings.Contains(string(a.Error.Data), "was carried out") {
				t.Fatalf("got %+v", a.Error)
			}
		}
	}
	if dropped == 0 || dropped == len(answers) {
		t.Errorf("of %d answers %d were dropped", len(answers), dropped)
	}
}
