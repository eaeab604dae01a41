package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coder/websocket"

	"dormouse/internal/bytesize"
)

// packageEvents are the events of the Packager that packageFollower reads.
var packageEvents = []string{"statechange", "progress", "operationend"}

// reconnectPause is the time between two attempts to reach a host that was ended while an
// operation was under way.
const reconnectPause = 500 * time.Millisecond

// packageFollower follows one operation on a package by the events of the host.
type packageFollower struct {
	client    *client
	t         *terminal
	operation string // its id
	ws        *websocket.Conn

	packageName string // as the events say
	phase       string
	begun       time.Time
}

// followPackage connects to the events of the host, before the operation of that id begins.
func (c *client) followPackage(ctx context.Context, t *terminal, operation string) (*packageFollower, error) {
	f := &packageFollower{client: c, t: t, operation: operation, begun: time.Now()}
	return f, f.connect(ctx)
}

// close ends the connection, and removes the line about the progress.
func (f *packageFollower) close() {
	if f.t.errIsTerminal {
		f.t.printErrf(clearLine)
	}
	if f.ws != nil {
		_ = f.ws.CloseNow()
	}
}

// connect registers for the events.
func (f *packageFollower) connect(ctx context.Context) error {
	c := f.client
	ws, _, err := websocket.Dial(ctx, c.url("ws"), &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: c.header()}) //nolint:bodyclose // a websocket has none
	if err != nil {
		return c.noAnswerError(ctx, err)
	}
	ws.SetReadLimit(-1)
	f.ws = ws
	for i, name := range packageEvents {
		request := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"Packager.1.register","params":{"event":%q,"id":"packages"}}`, i+1, name)
		if err := ws.Write(ctx, websocket.MessageText, []byte(request)); err != nil {
			return fmt.Errorf("cannot subscribe: %w", err)
		}
	}
	for range packageEvents { // once the host has answered, no event is missed
		if _, _, err := f.read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// read returns the name and the parameters of the next event; "" for the answer to a request,
// which is an error if the host has refused it.
func (f *packageFollower) read(ctx context.Context) (name string, params json.RawMessage, err error) {
	_, message, err := f.ws.Read(ctx)
	if err != nil {
		return "", nil, err
	}
	var m struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
		Error  *remoteError    `json:"error"`
	}
	if err := json.Unmarshal(message, &m); err != nil {
		return "", nil, fmt.Errorf("cannot understand an event: %w", err)
	}
	if m.Error != nil {
		return "", nil, fmt.Errorf("cannot subscribe: %w", m.Error)
	}
	return strings.TrimPrefix(m.Method, "packages."), m.Params, nil
}

// wait returns how the operation has ended. It shows the progress on a terminal. If the host ends
// meanwhile, it waits for the next, which finishes what was begun.
func (f *packageFollower) wait(ctx context.Context) (packageEnd, error) {
	for {
		name, params, err := f.read(ctx)
		if ctx.Err() != nil {
			return packageEnd{}, errors.New("interrupted; what the host has begun it carries on: dormouse plugin history")
		}
		if _, refused := errors.AsType[*remoteError](err); refused {
			return packageEnd{}, err
		}
		if err != nil {
			if end, known, err := f.reconnect(ctx); known || err != nil {
				return end, err
			}
			continue
		}
		if end, is := f.note(name, params); is {
			return end, nil
		}
	}
}

// note reads an event, and returns the end of the operation if it is that.
func (f *packageFollower) note(name string, params json.RawMessage) (end packageEnd, is bool) {
	var about struct {
		Name      string `json:"name"`
		Package   string `json:"package"`
		Operation string `json:"operation"`
		Phase     string `json:"phase"`
		Done      int64  `json:"done"`
		Total     int64  `json:"total"`
	}
	if json.Unmarshal(params, &about) != nil || about.Operation != f.operation {
		return end, false
	}
	switch name {
	case "operationend":
		return end, json.Unmarshal(params, &end) == nil
	case "statechange":
		f.packageName, f.phase = about.Name, about.Phase
		f.show("")
	case "progress":
		f.packageName = about.Package
		f.show("  " + doneText(about.Done, about.Total))
	}
	return end, false
}

// show writes the line about the progress, if standard error is a terminal.
func (f *packageFollower) show(progress string) {
	if f.t.errIsTerminal {
		f.t.printErrf(clearLine+"%s %s%s  %s", f.packageName, f.phase, progress, formatSeconds(time.Since(f.begun)))
	}
}

// doneText returns how many bytes of how many are done.
func doneText(done, total int64) string {
	if total == 0 {
		return bytesize.Format(done)
	}
	return fmt.Sprintf("%s of %s (%d %%)", bytesize.Format(done), bytesize.Format(total), done*100/max(1, total))
}

// reconnect waits for a host to answer again. It returns the end of the operation if that is
// known by then.
func (f *packageFollower) reconnect(ctx context.Context) (end packageEnd, known bool, err error) {
	_ = f.ws.CloseNow()
	f.show("  waiting for the host")
	for {
		if err := f.connect(ctx); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return end, false, errors.New("interrupted while the host was ended")
		case <-time.After(reconnectPause):
		}
	}
	all, err := f.client.packageHistory(ctx, "")
	if err != nil {
		return end, false, err
	}
	for _, e := range all {
		if e.Operation == f.operation {
			return e, true, nil
		}
	}
	return end, false, nil
}

// packageHistory returns the operations that have ended, oldest first: of one package, or of all
// with an empty name.
func (c *client) packageHistory(ctx context.Context, name string) (all []packageEnd, err error) {
	params := map[string]string{}
	if name != "" {
		params["package"] = name
	}
	result, err := c.call(ctx, "Packager.history", params)
	if err == nil {
		if err = json.Unmarshal(result, &all); err != nil {
			err = fmt.Errorf("cannot understand the host's history: %w", err)
		}
	}
	return all, err
}
