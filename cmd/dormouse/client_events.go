package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// event is one event of an instance, as `dormouse events` shows it.
type event struct {
	Time     time.Time       `json:"time"`
	Callsign string          `json:"callsign"`
	Event    string          `json:"event"`
	Params   json.RawMessage `json:"params,omitempty"`
}

// controlEvent is the event about the suspend and resume of plugins, which the Controller's
// event "all" does not include.
const controlEvent = "statecontrolstatechange"

// eventsVerb returns the action that prints the wanted events, or all, until Ctrl-C. The
// end of the connection is an error.
func eventsVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, wanted []string) error {
		if err := c.checkEventCallsigns(ctx, wanted); err != nil {
			return err
		}
		ws, _, err := websocket.Dial(ctx, c.url("ws"), &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: c.header()}) //nolint:bodyclose // a websocket has none
		if err != nil {
			return c.noAnswerError(ctx, err)
		}
		defer func() { _ = ws.CloseNow() }()
		ws.SetReadLimit(-1)
		if err := sendAllEventSubscriptions(ctx, ws); err != nil {
			return err
		}
		for {
			_, message, err := ws.Read(ctx)
			switch {
			case ctx.Err() != nil:
				_ = ws.Close(websocket.StatusNormalClosure, "")
				return nil
			case err != nil:
				return fmt.Errorf("the host at %s ended the connection: %w", c, innermostError(err))
			}
			e, err := parseEventOrAcceptance(message)
			switch {
			case err != nil:
				return err
			case e.Event == "" || !e.matchesFilter(wanted):
				continue
			}
			t.printf("%s\n", e.line(format))
			if t.writeErr != nil {
				return t.writeErr
			}
		}
	}
}

// checkEventCallsigns returns an error unless each name, CALLSIGN or CALLSIGN.EVENT, begins
// with the callsign of an existing instance.
func (c *client) checkEventCallsigns(ctx context.Context, wanted []string) error {
	all, err := c.listInstances(ctx, "")
	if err != nil {
		return err
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(all, func(r instanceRecord) bool { return strings.HasPrefix(w+".", r.Callsign+".") }) {
			callsign, _, _ := strings.Cut(w, ".")
			return c.unknownInstanceError(ctx, callsign, nil)
		}
	}
	return nil
}

// sendAllEventSubscriptions sends the requests that register for all events of the host.
// The host's answers arrive among the events.
func sendAllEventSubscriptions(ctx context.Context, ws *websocket.Conn) error {
	for i, name := range []string{"all", controlEvent} {
		request := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"Controller.1.register","params":{"event":%q,"id":"events"}}`, i+1, name)
		if err := ws.Write(ctx, websocket.MessageText, []byte(request)); err != nil {
			return fmt.Errorf("cannot subscribe: %w", err)
		}
	}
	return nil
}

// parseEventOrAcceptance returns the event of a message, with the present time, or an
// event without a name if the message accepts a subscription. A message that refuses one
// is an error.
func parseEventOrAcceptance(message []byte) (event, error) {
	var m struct {
		Method string `json:"method"`
		Params struct {
			Callsign string          `json:"callsign"`
			Event    string          `json:"event"`
			Data     json.RawMessage `json:"data"`
			State    string          `json:"state"`
		} `json:"params"`
		Error *remoteError `json:"error"`
	}
	if err := json.Unmarshal(message, &m); err != nil {
		return event{}, fmt.Errorf("cannot understand an event: %w", err)
	}
	if m.Error != nil {
		return event{}, fmt.Errorf("cannot subscribe: %w", m.Error)
	}
	if m.Method == "" {
		return event{}, nil
	}
	p := m.Params
	e := event{Time: time.Now(), Callsign: p.Callsign, Event: p.Event, Params: p.Data}
	if m.Method == "events."+controlEvent {
		e.Event = controlEvent
		e.Params, _ = json.Marshal(map[string]string{"state": p.State})
	}
	if e.Event == "" {
		return event{}, errors.New("cannot understand an event: it has no name")
	}
	return e, nil
}

// matchesFilter reports whether one of the names, CALLSIGN or CALLSIGN.EVENT, is that of
// the event, or whether there are no names.
func (e event) matchesFilter(names []string) bool {
	return len(names) == 0 || slices.Contains(names, e.Callsign) || slices.Contains(names, e.Callsign+"."+e.Event)
}

// line returns the event as one line: as JSON with -o json, else for a person.
func (e event) line(format *outputFormat) string {
	if format.isJSON() {
		line, _ := json.Marshal(e) // its only free part was parsed from JSON
		return string(line)
	}
	line := fmt.Sprintf("%s  %s  %s", e.Time.Format("15:04:05.000"), e.Callsign, e.Event)
	if len(e.Params) > 0 {
		line += "  " + string(e.Params)
	}
	return line
}
