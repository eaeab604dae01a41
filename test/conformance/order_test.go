package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// lineSocket is a websocket whose messages are read in the order in which they come.
type lineSocket struct {
	t    *testing.T
	conn *websocket.Conn
	id   int
}

func dialInOrder(t *testing.T, h *host) *lineSocket {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), "ws://"+h.address+"/jsonrpc", //nolint:bodyclose // Dial says that it has none
		&websocket.DialOptions{Subprotocols: []string{"notification"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &lineSocket{t: t, conn: conn}
}

// send sends a request and returns its id.
func (s *lineSocket) send(method, params string) int {
	s.t.Helper()
	s.id++
	message := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, s.id, method, params)
	if err := s.conn.Write(s.t.Context(), websocket.MessageText, []byte(message)); err != nil {
		s.t.Fatal(err)
	}
	return s.id
}

// message is an answer or a notification.
type message struct {
	ID     int
	Method string
	Params json.RawMessage
	Error  *struct{ Code int }
}

func (s *lineSocket) next() (m message) {
	s.t.Helper()
	_, text, err := s.conn.Read(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	return m
}

// answer reads up to the answer with that id and returns the notifications before it.
func (s *lineSocket) answer(id int) (before []message, answer message) {
	s.t.Helper()
	for {
		m := s.next()
		if m.ID == id {
			return before, m
		}
		before = append(before, m)
	}
}

func (s *lineSocket) must(method, params string) {
	s.t.Helper()
	if _, answer := s.answer(s.send(method, params)); answer.Error != nil {
		s.t.Fatalf("%s: error %d", method, answer.Error.Code)
	}
}

// An event of a plugin comes before the answer of the call that caused it, and not to a
// client that registers after it.
func TestOrderOfEvents(t *testing.T) {
	p := build(t)
	for _, dialect := range []string{"r4", "r5"} {
		t.Run(dialect, func(t *testing.T) {
			h := &host{programs: p, root: t.TempDir(), dialect: dialect}
			h.start(t)
			defer h.stop(t)
			t.Run("call", func(t *testing.T) { checkEventsBeforeAnswers(t, h, "Plain.1.emit", 0) })
			t.Run("failed call", func(t *testing.T) { checkEventsBeforeAnswers(t, h, "Plain.1.emit@fail", 1) })
			t.Run("calls at once", func(t *testing.T) { checkEventsOfParallelCalls(t, h) })
			t.Run("HTTP", func(t *testing.T) { checkEventsBeforeHTTPAnswers(t, h) })
			t.Run("registered before", func(t *testing.T) { checkCallAfterRegistration(t, h) })
			t.Run("registered after", func(t *testing.T) { checkRegistrationAfterEvents(t, h) })
		})
	}
}

func checkEventsBeforeAnswers(t *testing.T, h *host, method string, errors int) {
	t.Helper()
	s := dialInOrder(t, h)
	s.must("Plain.1.register", `{"event":"emitted","id":"c"}`)
	late := 0
	for range 500 {
		n := s.send(method, strconv.Itoa(s.id+1))
		before, answer := s.answer(n)
		if len(before) != 1 || before[0].Method != "c.emitted" || string(before[0].Params) != strconv.Itoa(n) {
			late++
		}
		if failed := answer.Error != nil; failed != (errors > 0) {
			t.Fatalf("got %+v", answer)
		}
	}
	if late > 0 {
		t.Errorf("%d of 500 events did not come just before the answers", late)
	}
}

func checkEventsOfParallelCalls(t *testing.T, h *host) {
	t.Helper()
	s := dialInOrder(t, h)
	s.must("Plain.1.register", `{"event":"emitted","id":"c"}`)
	for range 500 {
		s.send("Plain.1.emit", strconv.Itoa(s.id+1))
	}
	seen := make(map[string]bool)
	for range 1000 {
		switch m := s.next(); {
		case m.Method != "":
			seen[string(m.Params)] = true
		case !seen[strconv.Itoa(m.ID)]:
			t.Errorf("answer %d came before its event", m.ID)
		}
	}
}

func checkEventsBeforeHTTPAnswers(t *testing.T, h *host) {
	t.Helper()
	s := dialInOrder(t, h)
	s.must("Plain.1.register", `{"event":"emitted","id":"c"}`)
	for n := range 50 {
		overHTTP{host: h}.do(t.Context(), t, http.MethodPost, "/jsonrpc", fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"Plain.1.emit","params":%d}`, n))
		if before, _ := s.answer(s.send("Controller.1.framework", "{}")); len(before) != 1 || string(before[0].Params) != strconv.Itoa(n) {
			t.Errorf("call %d was answered after the events %v", n, before)
		}
	}
}

// A client that does not wait for the answer of register gets the events of its next call.
func checkCallAfterRegistration(t *testing.T, h *host) {
	t.Helper()
	for n := range 100 {
		s := dialInOrder(t, h)
		s.send("Plain.1.register", `{"event":"emitted","id":"c"}`)
		before, _ := s.answer(s.send("Plain.1.emit", strconv.Itoa(n)))
		if len(before) != 2 || before[0].Method != "" || string(before[1].Params) != strconv.Itoa(n) {
			t.Errorf("client %d got %+v", n, before)
		}
		_ = s.conn.CloseNow()
	}
}

// An event that is still on its way from the plugin is not for a client that comes now.
func checkRegistrationAfterEvents(t *testing.T, h *host) {
	t.Helper()
	s := dialInOrder(t, h)
	s.must("Plain.1.tick", "{}")
	ticked := func() int {
		text, err := os.ReadFile(filepath.Join(h.root, "persistent", "Plain", "ticked"))
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(strings.TrimSpace(string(text))) // it is empty at first
		return n
	}
	poll(t, "the first events", func() bool { return ticked() > 0 })
	for _, topic := range []struct{ callsign, event string }{{"Plain", "ticked"}, {"Controller", "all"}} {
		for range 100 {
			seen := ticked()
			s.send(topic.callsign+".1.register", `{"event":"`+topic.event+`","id":"c"}`)
			if first := s.nextTick(); first <= seen {
				t.Errorf("event %d came to a client that came after event %d", first, seen)
			}
			s.must(topic.callsign+".1.unregister", `{"event":"`+topic.event+`","id":"c"}`)
		}
	}
}

// nextTick returns the number in the next notification of a tick, also as one of all events.
func (s *lineSocket) nextTick() (number int) {
	s.t.Helper()
	m := s.next()
	for m.Method == "" {
		m = s.next()
	}
	var all struct{ Data, Params int } // in R4, in R5
	if json.Unmarshal(m.Params, &number) == nil {
		return number
	}
	if err := json.Unmarshal(m.Params, &all); err != nil {
		s.t.Fatalf("%s: %v", m.Params, err)
	}
	return all.Data + all.Params
}
