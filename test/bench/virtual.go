package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"dormouse/configs"
	"dormouse/plugins/client"
	"dormouse/plugins/host"
	"dormouse/supervisor"
)

// virtualParents is how many instances have the virtual plugins.
const virtualParents = 4

// measureVirtual measures calls by the callsign of a virtual plugin, and prints what a thousand idle
// ones cost.
func measureVirtual(ctx context.Context, b *bench) (rows []row, err error) {
	h, err := openParents(ctx, b.plugins)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.end(ctx)) }()
	if err := h.createVirtuals(ctx, 1); err != nil {
		return nil, err
	}
	one, err := h.compareVirtual(ctx, 3*b.runs)
	if err != nil {
		return nil, err
	}
	if err := h.createVirtuals(ctx, 1000/virtualParents); err != nil {
		return nil, err
	}
	report, err := processorTimeOfVirtuals(ctx)
	if err == nil {
		fmt.Println(report)
	}
	return []row{one}, err
}

// parents is a host in this process with instances that have virtual plugins.
type parents struct {
	*host.Host
	dir    string
	served chan error
}

// openParents opens the host, starts its instances and serves native clients.
func openParents(ctx context.Context, plugins string) (*parents, error) {
	dir, err := os.MkdirTemp("", "dmb")
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(filepath.Join(plugins, "echo"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "echo"), program, 0o700)
	}
	if err != nil {
		return nil, err
	}
	var all []configs.Plugin
	for i := range virtualParents {
		p := configs.DefaultPlugin()
		p.Callsign, p.Executable, p.StartMode = fmt.Sprintf("Echo%d", i), filepath.Join(dir, "echo"), configs.StartActivated
		all = append(all, p)
	}
	opened, err := host.Open(host.PrivateOptions(dir, zerolog.Nop(), all...))
	if err != nil {
		return nil, err
	}
	h := &parents{opened, dir, make(chan error, 1)}
	h.Supervisor.Start(ctx)
	l, err := net.Listen("unix", filepath.Join(dir, "communicator"))
	if err != nil {
		return nil, errors.Join(err, h.end(ctx))
	}
	go func() { h.served <- h.Communicator.ServeNative(l) }()
	return h, nil
}

// end stops the host and removes its directory.
func (h *parents) end(ctx context.Context) error {
	err := errors.Join(h.StopPluginsAndCommunicator(context.WithoutCancel(ctx)), h.CleanUpAndClose(false), os.RemoveAll(h.dir))
	return errors.Join(err, <-h.served)
}

// createVirtuals makes n virtual plugins of each instance.
func (h *parents) createVirtuals(ctx context.Context, n int) error {
	for _, parent := range h.PluginShells() {
		for i := range n {
			v := supervisor.Virtual{Callsign: fmt.Sprintf("%s-%d", parent.Callsign(), i), Configuration: []byte(`{"of":"bench"}`)}
			if err := h.Supervisor.CreateVirtual(ctx, parent.Callsign(), v); err != nil {
				return err
			}
		}
	}
	return nil
}

// compareVirtual calls a virtual plugin and its parent in turn, as native clients do.
func (h *parents) compareVirtual(ctx context.Context, runs int) (row, error) {
	c, err := client.New(filepath.Join(h.dir, "communicator"))
	if err != nil {
		return row{}, err
	}
	defer c.Close()
	virtual, parent := echo(c.Conn("Echo0-0")), echo(c.Conn("Echo0"))
	var own, plain series
	err = rounds(ctx, runs, func() error {
		return errors.Join(
			timed(&own, func() error { return repeat(ctx, virtual) }),
			timed(&plain, func() error { return repeat(ctx, parent) }),
		)
	}, &own, &plain)
	for _, s := range []series{own, plain} {
		for i := range s {
			s[i] /= callsPerRun
		}
	}
	return row{what: "call of a virtual plugin", own: own, yardstick: "of its parent", plain: plain, aim: 1.15}, err
}

// processorTimeOfVirtuals says how much processor time this process needs while nothing uses its
// virtual plugins.
func processorTimeOfVirtuals(ctx context.Context) (string, error) {
	const idle = 5 * time.Second
	var begin, end unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &begin)
	select {
	case <-time.After(idle):
	case <-ctx.Done():
	}
	err = errors.Join(err, ctx.Err(), unix.Getrusage(unix.RUSAGE_SELF, &end))
	used := time.Duration(end.Utime.Nano() + end.Stime.Nano() - begin.Utime.Nano() - begin.Stime.Nano())
	return fmt.Sprintf("1000 virtual plugins: %.2f %% of one processor while idle (aim 0)", 100*used.Seconds()/idle.Seconds()), err
}
