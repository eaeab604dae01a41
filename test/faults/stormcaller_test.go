package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"dormouse/plugins/client"
	"dormouse/test/streams"
)

// outcome is how a call ended for its caller.
type outcome int

const (
	unanswered outcome = iota // it may have been carried out, or not
	answered
	refused // it was not carried out and will not be
)

// stormCaller calls ledgers and knows how each call ended.
type stormCaller struct {
	st   *storm
	name string
	note func(ctx context.Context, callsign string, n int) (life string, o outcome)

	next     map[string]int            // the number of the next call, by callsign
	answered map[string]map[int]string // the life that answered, by callsign and number
	refused  map[string]map[int]bool
}

// newStormCaller returns a caller over HTTP, a websocket or gRPC, by its number.
func newStormCaller(st *storm, i int) *stormCaller {
	c := &stormCaller{st: st, next: make(map[string]int), answered: make(map[string]map[int]string), refused: make(map[string]map[int]bool)}
	for _, l := range st.ledgers {
		c.answered[l.callsign], c.refused[l.callsign] = make(map[int]string), make(map[int]bool)
	}
	switch i % 3 {
	case 0:
		c.name, c.note = fmt.Sprintf("http%d", i), c.noteOverHTTP
	case 1:
		c.name, c.note = fmt.Sprintf("ws%d", i), c.overWebsocket()
	default:
		c.name, c.note = fmt.Sprintf("grpc%d", i), c.overGRPC()
	}
	return c
}

// run calls until ctx ends, one call after the other.
func (c *stormCaller) run(ctx context.Context) {
	for ctx.Err() == nil {
		callsign := c.st.ledgers[rand.IntN(len(c.st.ledgers))].callsign //nolint:gosec // any will do
		n := c.next[callsign]
		c.next[callsign]++
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		life, o := c.note(limited, callsign, n)
		cancel()
		switch o {
		case answered:
			c.answered[callsign][n] = life
			c.st.answered.Add(1)
		case refused:
			c.refused[callsign][n] = true
			c.st.refused.Add(1)
		default:
			c.st.unanswered.Add(1)
			select { // there may be no host at the moment
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// compare returns what is wrong in the account of a ledger about this caller, in sentences.
func (c *stormCaller) compare(callsign string, a account) (problems []string) {
	there := make(map[int]bool)
	for _, run := range a.Runs[c.name] {
		for n := run.First; n <= run.Last; n++ {
			switch life, wasAnswered := c.answered[callsign][n]; {
			case there[n]:
				problems = append(problems, fmt.Sprintf("call %d was carried out twice", n))
			case c.refused[callsign][n]:
				problems = append(problems, fmt.Sprintf("call %d was refused and carried out", n))
			case n >= c.next[callsign]:
				problems = append(problems, fmt.Sprintf("call %d was never made", n))
			case wasAnswered && life != a.Life:
				problems = append(problems, fmt.Sprintf("call %d was carried out in two lives", n))
			}
			there[n] = true
		}
	}
	for n, life := range c.answered[callsign] {
		if life == a.Life && !there[n] {
			problems = append(problems, fmt.Sprintf("call %d was answered in this life, which does not know it", n))
		}
	}
	return problems
}

// stormAnswer is an answer over JSON-RPC.
type stormAnswer struct {
	ID     *int
	Result *struct{ Life string }
	Error  *struct {
		Code int
		Data struct{ Delivered bool }
	}
}

// numberNotAnswered says that a call was delivered and not answered.
const numberNotAnswered = 25

// outcome returns how the call ended.
func (a stormAnswer) outcome() (life string, o outcome) {
	switch {
	case a.Result != nil:
		return a.Result.Life, answered
	case a.Error == nil, a.Error.Code == numberNotAnswered, a.Error.Data.Delivered:
		return "", unanswered
	}
	return "", refused
}

func (c *stormCaller) request(callsign string, n int) map[string]any {
	return map[string]any{"jsonrpc": "2.0", "id": n, "method": callsign + ".note", "params": note{c.name, n}}
}

func (c *stormCaller) noteOverHTTP(ctx context.Context, callsign string, n int) (life string, o outcome) {
	body, err := json.Marshal(c.request(callsign, n))
	if err != nil {
		return "", refused
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.st.host.Load().url(), bytes.NewReader(body))
	if err != nil {
		return "", refused
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", unanswered
	}
	defer response.Body.Close()
	var a stormAnswer
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		return "", unanswered
	}
	return a.outcome()
}

// overWebsocket returns a note over a websocket, which is dialed anew when it breaks.
func (c *stormCaller) overWebsocket() func(context.Context, string, int) (string, outcome) {
	var ws *websocket.Conn
	c.st.t.Cleanup(func() {
		if ws != nil {
			_ = ws.CloseNow()
		}
	})
	return func(ctx context.Context, callsign string, n int) (life string, o outcome) {
		var err error
		if ws == nil {
			if ws, _, err = websocket.Dial(ctx, "ws"+strings.TrimPrefix(c.st.host.Load().url(), "http"), nil); err != nil { //nolint:bodyclose // it has none, see Dial
				ws = nil
				return "", refused
			}
		}
		var a stormAnswer
		if err = wsjson.Write(ctx, ws, c.request(callsign, n)); err == nil {
			err = wsjson.Read(ctx, ws, &a)
		}
		if err != nil || a.ID == nil || *a.ID != n {
			_ = ws.CloseNow()
			ws = nil
			return "", unanswered
		}
		return a.outcome()
	}
}

// overGRPC returns a note over gRPC.
func (c *stormCaller) overGRPC() func(context.Context, string, int) (string, outcome) {
	native, err := client.New(filepath.Join(c.st.site.root, "run", "communicator"))
	must(c.st.t, err)
	c.st.t.Cleanup(func() { _ = native.Close() })
	return func(ctx context.Context, callsign string, n int) (life string, o outcome) {
		got, err := streams.NewStreamsClient(native.Conn(callsign)).Echo(ctx, &streams.Text{Text: fmt.Sprint(c.name, " ", n)})
		switch grpcstatus.Code(err) { //nolint:exhaustive // all others are unclear
		case codes.OK:
			var answer note
			if _, err := fmt.Sscan(got.GetText(), &answer.Caller, &answer.N, &life); err != nil || answer != (note{c.name, n}) {
				c.st.t.Errorf("%s got another's answer: %q", c.name, got.GetText())
			}
			return life, answered
		case codes.FailedPrecondition, codes.ResourceExhausted:
			return "", refused
		}
		return "", unanswered
	}
}
