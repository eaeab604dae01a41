package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/outbox"
	"dormouse/internal/outbox/targets"
	"dormouse/internal/store"
	"dormouse/plugins/host"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// Numbers of the measurements of webhooks.
const (
	webhookReceivers = 100
	hanging          = 10
	waitingAtStart   = 100_000
	idleReceivers    = 1000
)

// deliverVerb has this program open an outbox and run it, and print an opening.
const deliverVerb = "open-outbox"

// measureWebhooks measures how long after the begin of a change of a task its subscribers hear of
// it, alone and beside subscribers that hang, each in turn; and prints what waiting deliveries and
// idle subscriptions cost.
func measureWebhooks(ctx context.Context, b *bench) (_ []row, err error) {
	h, err := openTaskHost(ctx, filepath.Join(b.plugins, "echo"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }() //nolint:contextcheck // it ends what ctx may have ended
	alone, err := h.newTask(ctx, webhookReceivers)
	if err != nil {
		return nil, err
	}
	beside, err := h.newTask(ctx, webhookReceivers)
	if err != nil {
		return nil, err
	}
	for range hanging {
		url, err := h.listenAndHang()
		if err == nil {
			err = h.Tasks.Subscribe(ctx, beside, tasks.Subscription{URL: url})
		}
		if err != nil {
			return nil, err
		}
	}
	silent, err := h.newTask(ctx, 0)
	if err != nil {
		return nil, err
	}
	var half, most, halfBeside, mostBeside, plain series
	err = rounds(ctx, 3*b.runs, func() error {
		return errors.Join(
			h.timeChange(ctx, alone, &half, &most), h.timeChange(ctx, beside, &halfBeside, &mostBeside),
			timed(&plain, func() error { return h.changeAndPost(ctx, silent) }),
		)
	}, &half, &most, &halfBeside, &mostBeside, &plain)
	if err != nil {
		return nil, err
	}
	if err := h.printIdle(ctx); err != nil {
		return nil, err
	}
	if err := printWaiting(ctx); err != nil {
		return nil, err
	}
	what := fmt.Sprintf("a change reaches %%s of %d webhooks%%s", webhookReceivers)
	besides := fmt.Sprintf(" beside %d that hang", hanging)
	return []row{
		{what: fmt.Sprintf(what, "half", ""), own: half, yardstick: "a change, then one POST", plain: plain, within: 15 * time.Millisecond},
		{what: fmt.Sprintf(what, "99 %", ""), own: most, yardstick: "a change, then one POST", plain: plain, within: 60 * time.Millisecond},
		{what: fmt.Sprintf(what, "half", besides), own: halfBeside, yardstick: "none hangs", plain: half, aim: 2},
		{what: fmt.Sprintf(what, "99 %", besides), own: mostBeside, yardstick: "none hangs", plain: most, aim: 2},
	}, nil
}

// taskHost is a host with a plugin that has tasks, and a subscriber.
type taskHost struct {
	*host.Host
	dir     string
	service taskspb.TasksServer
	got     chan time.Time
	servers []*http.Server
	url     string
	steps   int
}

func openTaskHost(ctx context.Context, program string) (_ *taskHost, err error) {
	h := &taskHost{got: make(chan time.Time, 10*webhookReceivers)}
	if h.dir, err = os.MkdirTemp("", "dmw"); err != nil {
		return nil, err
	}
	config := configs.Default()
	config.Host.Root, config.Hibernate.Dir = h.dir, filepath.Join(h.dir, "images")
	config.Webhooks.Allow = []string{"127.0.0.1"}
	plugin := configs.DefaultPlugin()
	plugin.Callsign, plugin.Executable, plugin.StartMode = "Echo", program, configs.StartActivated
	config.Plugins = []configs.Plugin{plugin}
	if h.Host, err = host.Open(host.Options{Config: config, RunDir: filepath.Join(h.dir, "run"), Log: zerolog.Nop()}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(h.dir))
	}
	h.Supervisor.Start(ctx)
	h.service = h.Tasks.Service(nil)
	h.url, err = h.listen(func(w http.ResponseWriter, _ *http.Request) {
		h.got <- time.Now()
		w.WriteHeader(http.StatusNoContent)
	})
	if err != nil {
		return nil, errors.Join(err, h.close()) //nolint:contextcheck // it ends what ctx may have ended
	}
	return h, nil
}

// listen returns the URL of a server on a port of its own.
func (h *taskHost) listen(serve http.HandlerFunc) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: serve}
	h.servers = append(h.servers, server)
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), nil
}

// listenAndHang returns the URL of a server that does not answer.
func (h *taskHost) listenAndHang() (string, error) {
	return h.listen(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

func (h *taskHost) close() error {
	for _, server := range h.servers {
		_ = server.Close()
	}
	return errors.Join(h.StopPluginsAndCommunicator(context.Background()), h.CleanUpAndClose(false), os.RemoveAll(h.dir))
}

// newTask makes a task of the plugin with that many subscriptions.
func (h *taskHost) newTask(ctx context.Context, subscriptions int) (string, error) {
	task, err := h.service.Create(shell.WithCaller(ctx, "Echo"), &taskspb.CreateRequest{Waits: true})
	for i := range subscriptions {
		if err == nil {
			err = h.Tasks.Subscribe(ctx, task.GetId(), tasks.Subscription{URL: fmt.Sprintf("%s/%d", h.url, i)})
		}
	}
	return task.GetId(), err
}

// timeChange adds a step to the task, and adds how long it took until half of its subscribers, and
// 99 of 100, were told. The next change comes a little later.
func (h *taskHost) timeChange(ctx context.Context, task string, half, most *series) error {
	h.steps++
	step := fmt.Sprint(h.steps)
	begun := time.Now()
	update := &taskspb.UpdateRequest{Task: task, AddStep: &taskspb.Step{Id: step}}
	if h.steps > 2 {
		update.ClearSteps = []string{fmt.Sprint(h.steps - 2)} // the two tasks take turns
	}
	if _, err := h.service.Update(shell.WithCaller(ctx, "Echo"), update); err != nil {
		return err
	}
	var took series
	for range webhookReceivers {
		select {
		case at := <-h.got:
			took = append(took, at.Sub(begun))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	slices.Sort(took)
	*half = append(*half, took[webhookReceivers/2-1])
	*most = append(*most, took[webhookReceivers*99/100-1])
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
	}
	return nil
}

// changeAndPost changes the task, which has no subscribers, and then tells one by itself.
func (h *taskHost) changeAndPost(ctx context.Context, task string) error {
	if _, err := h.service.Update(shell.WithCaller(ctx, "Echo"), &taskspb.UpdateRequest{Task: task, Log: []string{"changed"}}); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	<-h.got
	return response.Body.Close()
}

// printIdle prints the processor time that subscriptions need while there is nothing to tell.
func (h *taskHost) printIdle(ctx context.Context) error {
	if _, err := h.newTask(ctx, idleReceivers); err != nil {
		return err
	}
	const idle = 5 * time.Second
	var begin, end unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &begin)
	select {
	case <-time.After(idle):
	case <-ctx.Done():
	}
	err = errors.Join(err, unix.Getrusage(unix.RUSAGE_SELF, &end))
	used := time.Duration(end.Utime.Nano() + end.Stime.Nano() - begin.Utime.Nano() - begin.Stime.Nano())
	fmt.Printf("%d idle subscriptions need %v of the processor in %v, with the whole host and %d that hang.\n", idleReceivers, used, idle, hanging)
	return err
}

// printWaiting prints what deliveries that wait cost at a start: a few in each line, and each in a
// line of its own.
func printWaiting(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "dormouse-bench-outbox")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	none := opening{}
	for _, lines := range []int{0, 1000, waitingAtStart} {
		path := filepath.Join(dir, fmt.Sprint(lines))
		if err := fillOutbox(ctx, path, lines, "http://"+listener.Addr().String()); err != nil {
			return err
		}
		var took series
		var memory int64
		for range 3 {
			o, err := runOutboxInChild(ctx, path)
			if err != nil {
				return err
			}
			took, memory = append(took, o.Took), max(memory, o.Resident)
		}
		if lines == 0 {
			none = opening{took.median(), memory}
			continue
		}
		fmt.Printf("%d deliveries that wait in %d lines cost %+.1f MiB of memory (at most 32) and %+.3f s of a start (at most 1).\n",
			waitingAtStart, lines, float64(memory-none.Resident)/(1<<20), (took.median() - none.Took).Seconds())
	}
	return nil
}

// fillOutbox puts deliveries into the outbox of a new store, in so many lines, and one into it
// if these are none.
func fillOutbox(ctx context.Context, path string, lines int, url string) error {
	s, box, err := openOutboxOf(path)
	if err != nil {
		return err
	}
	count, each := waitingAtStart, 5000
	if lines == 0 {
		count, lines = 1, 1
	}
	for n := 0; n < count && err == nil; n += each {
		err = s.Update(ctx, func(tx *store.Tx) error {
			for i := n; i < min(n+each, count); i++ {
				d := outbox.Delivery{Line: fmt.Sprintf("task/%032d/%d", i%lines, i%lines), Kind: "task", Event: "status", URL: fmt.Sprintf("%s/hook/%d?source=http://127.0.0.1:9998/qhana/tasks/%d/&event=status", url, i, i)}
				if err := box.PutIn(tx, d); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return errors.Join(err, s.Close())
}

// openOutboxOf opens the outbox in the file, which may deliver to this machine.
func openOutboxOf(path string) (*store.Store, *outbox.Outbox, error) {
	s, err := store.Open(path, store.Options{CheckAfter: time.Hour})
	if err != nil {
		return nil, nil, err
	}
	rule, err := targets.ParseRule("127.0.0.1")
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	box, err := outbox.Open(s, outbox.Options{Targets: targets.New(targets.Options{Allow: []targets.Rule{rule}})})
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, box, nil
}

// runOutboxInChild opens and runs the outbox in a process that does nothing else.
func runOutboxInChild(ctx context.Context, path string) (o opening, err error) {
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	cmd := exec.CommandContext(ctx, self, deliverVerb, path)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return o, err
	}
	return o, json.Unmarshal(out, &o)
}

// printDelivering is what the child does: it runs the outbox until tries hang for a while. Took is
// when the first one began.
func printDelivering(path string) error {
	start := time.Now()
	s, box, err := openOutboxOf(path)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	begun := make(chan time.Time, 1000)
	box.Handle("task", outbox.Kind{Find: func(_ context.Context, _ *http.Client, d outbox.Delivery) (string, error) {
		begun <- time.Now()
		return d.URL, nil
	}})
	var running sync.WaitGroup
	running.Go(func() { box.Run(ctx) })
	o := opening{Took: (<-begun).Sub(start)}
	<-time.After(2 * time.Second)
	o.Resident = peakResident()
	stop()
	running.Wait()
	return errors.Join(json.NewEncoder(os.Stdout).Encode(o), s.Close())
}

// peakResident returns the most memory that this process has had, in bytes.
func peakResident() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}
