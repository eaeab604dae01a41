package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/coder/websocket"
)

const (
	parallelSockets = 16
	callsPerSocket  = 250
	subscribers     = 1000
)

// bare is a websocket server that does nothing but echo and write.
type bare struct {
	*httptest.Server
	mu    sync.Mutex
	conns []*websocket.Conn
}

func startBare() *bare {
	b := &bare{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns = append(b.conns, conn)
		b.mu.Unlock()
		for {
			kind, message, err := conn.Read(r.Context())
			if err == nil {
				err = conn.Write(r.Context(), kind, message)
			}
			if err != nil {
				return
			}
		}
	}))
	return b
}

func (b *bare) url() string { return "ws" + b.URL[len("http"):] }

// tell writes to every connection in turn.
func (b *bare) tell(ctx context.Context, message []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, conn := range b.conns {
		if err := conn.Write(ctx, websocket.MessageText, message); err != nil {
			return err
		}
	}
	return nil
}

// crowd is many websockets to one server.
type crowd []*websocket.Conn

func gather(ctx context.Context, url string, n int) (crowd, error) {
	var c crowd
	for range n {
		conn, _, err := websocket.Dial(ctx, url, nil) //nolint:bodyclose // Dial says that it has none
		if err != nil {
			return c, err
		}
		c = append(c, conn)
	}
	return c, nil
}

func (c crowd) leave() {
	for _, conn := range c {
		_ = conn.CloseNow() // the measurement is over
	}
}

// each does the same on every connection at once.
func (c crowd) each(do func(*websocket.Conn) error) error { return together(c, do) }

// together does the same with all at once.
func together[T any](with []T, do func(T) error) error {
	var all sync.WaitGroup
	failures := make([]error, len(with))
	for i, one := range with {
		all.Go(func() { failures[i] = do(one) })
	}
	all.Wait()
	return errors.Join(failures...)
}

// times does the same n times, or until it fails.
func times(n int, do func() error) error {
	for range n {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

func ask(ctx context.Context, conn *websocket.Conn, request, answer string) error {
	if err := conn.Write(ctx, websocket.MessageText, []byte(request)); err != nil {
		return err
	}
	_, got, err := conn.Read(ctx)
	if err == nil && !bytes.Contains(got, []byte(answer)) {
		err = fmt.Errorf("unexpected answer: %s", got)
	}
	return err
}

// question is what is asked on many websockets at once, and a part of its answer.
type question struct{ request, answer string }

var (
	version  = question{`{"jsonrpc":"2.0","id":1,"method":"Controller.1.version"}`, `"hash"`}
	toPlugin = question{request, `{"text":"hello"}`}
)

// compareParallel asks the host itself and a plugin on many websockets at once,
// in turn with a server that sends back what it gets and with calling the
// plugin directly on as many connections.
func (h *servedHost) compareParallel(ctx context.Context, b *bare, runs int) ([]row, error) {
	own, err := gather(ctx, "ws://"+h.address+"/jsonrpc", parallelSockets)
	defer own.leave()
	if err != nil {
		return nil, err
	}
	plain, err := gather(ctx, b.url(), parallelSockets)
	defer plain.leave()
	if err != nil {
		return nil, err
	}
	direct, hangUp, err := h.dialMany(parallelSockets)
	defer hangUp()
	if err != nil {
		return nil, err
	}
	many := func(q question) func(*websocket.Conn) error {
		return func(conn *websocket.Conn) error {
			return times(callsPerSocket, func() error { return ask(ctx, conn, q.request, q.answer) })
		}
	}
	var host, plugin, echoed, native series
	for run := range runs + 1 {
		err := errors.Join(
			timed(&host, func() error { return own.each(many(version)) }),
			timed(&echoed, func() error { return plain.each(many(question{request, request})) }),
			timed(&plugin, func() error { return own.each(many(toPlugin)) }),
			timed(&native, func() error {
				return together(direct, func(call func(context.Context) error) error {
					return times(callsPerSocket, func() error { return call(ctx) })
				})
			}),
		)
		if err != nil {
			return nil, err
		}
		if run == 0 {
			host, plugin, echoed, native = nil, nil, nil, nil // warm-up
		}
	}
	for _, s := range []series{host, plugin, echoed, native} {
		for i := range s {
			s[i] /= parallelSockets * callsPerSocket
		}
	}
	on := fmt.Sprintf(" on %d websockets", parallelSockets)
	return []row{
		{what: "host call" + on, own: host, yardstick: "bare websocket echo", plain: echoed, aim: 2},
		{what: "plugin call" + on, own: plugin, yardstick: "bare websocket echo", plain: echoed, aim: 2},
		{what: "plugin call" + on, own: plugin, yardstick: fmt.Sprintf("gRPC on %d sockets", parallelSockets), plain: native, aim: 2},
	}, nil
}

// compareEvents makes an instance change its state until the last of many
// subscribers knows, in turn with a server that writes as much to as many.
func (h *servedHost) compareEvents(ctx context.Context, b *bare, runs int) (row, error) {
	own, err := gather(ctx, "ws://"+h.address+"/jsonrpc", subscribers)
	defer own.leave()
	if err == nil {
		err = own.each(func(conn *websocket.Conn) error {
			return ask(ctx, conn, `{"jsonrpc":"2.0","id":1,"method":"Controller.1.register","params":{"event":"statechange","id":"c"}}`, `"result":0`)
		})
	}
	if err != nil {
		return row{}, err
	}
	operator, err := gather(ctx, "ws://"+h.address+"/jsonrpc", 1)
	defer operator.leave()
	if err != nil {
		return row{}, err
	}
	b.mu.Lock()
	b.conns = nil // those that only echoed
	b.mu.Unlock()
	plain, err := gather(ctx, b.url(), subscribers)
	defer plain.leave()
	if err != nil {
		return row{}, err
	}
	const news = `{"jsonrpc":"2.0","method":"c.statechange","params":{"callsign":"Idle","state":"Unavailable","reason":"Requested"}}`
	hear := func(conn *websocket.Conn) error {
		_, got, err := conn.Read(ctx)
		if err == nil && !bytes.Contains(got, []byte(`"c.statechange"`)) {
			err = fmt.Errorf("unexpected news: %s", got)
		}
		return err
	}
	r := row{what: fmt.Sprintf("event to %d websockets", subscribers), yardstick: "bare websocket writes", aim: 2}
	verbs := []string{"unavailable", "deactivate"} // there and back, each announced once
	for run := range runs + 1 {
		change := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"Controller.1.%s","params":{"callsign":"Idle"}}`, verbs[run%2])
		err := errors.Join(
			timed(&r.own, func() error {
				return meanwhile(func() error { return ask(ctx, operator[0], change, `"result":null`) }, func() error { return own.each(hear) })
			}),
			timed(&r.plain, func() error {
				return meanwhile(func() error { return b.tell(ctx, []byte(news)) }, func() error { return plain.each(hear) })
			}),
		)
		if err != nil {
			return row{}, err
		}
		if run == 0 {
			r.own, r.plain = nil, nil // warm-up
		}
	}
	return r, nil
}

// meanwhile does both at once.
func meanwhile(a, b func() error) error {
	first := make(chan error, 1)
	go func() { first <- a() }()
	return errors.Join(b(), <-first)
}

// compareWebsockets measures many websockets to one host.
func compareWebsockets(ctx context.Context, binary, plugins string, runs int) (rows []row, err error) {
	h, err := startHost(ctx, binary, plugins)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	b := startBare()
	defer b.Close()
	parallel, err := h.compareParallel(ctx, b, runs)
	if err != nil {
		return nil, err
	}
	events, err := h.compareEvents(ctx, b, runs)
	return append(parallel, events), err
}
