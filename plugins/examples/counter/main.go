// Counter is a plugin with a value that is only in memory, so that a wake must
// bring it back. To make hibernation harder, it can also fill memory and keep a
// chain of child processes.
package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"dormouse/plugins/sdk"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == childCommand {
		os.Exit(runChild(os.Args[2], os.Stdin, os.Stdout))
	}
	sdk.Serve(newCounter())
}

type counter struct {
	in       *sdk.Instance
	begun    time.Time
	memory   memory
	children childChain

	mu    sync.Mutex
	value int64
}

func newCounter() *counter { return &counter{begun: time.Now()} }

var (
	_ sdk.Suspender     = (*counter)(nil)
	_ sdk.AfterRestorer = (*counter)(nil)
)

func (c *counter) Initialize(ctx context.Context, in *sdk.Instance) error {
	var config struct {
		Start int64 `json:"start"`
		Fill  int   `json:"fill"` // MiB to fill at once, for a large image
	}
	if err := in.Configuration.Decode(&config); err != nil {
		return fmt.Errorf("cannot read the configuration: %w", err)
	}
	c.in = in
	c.value = config.Start
	if config.Fill == 0 {
		return nil
	}
	params := fillParams{MiB: config.Fill}
	if err := params.Validate(); err != nil {
		return err
	}
	_, err := c.fill(ctx, params)
	return err
}

func (c *counter) Deinitialize(ctx context.Context, why sdk.Reason) error {
	c.in.Log.Info("counter ended", "value", c.currentValue(), "reason", why)
	_, err := c.children.restart(ctx, 0)
	return err
}

func (c *counter) Information() sdk.Information {
	return sdk.Information{
		Name:        "counter",
		Description: "counts, fills memory and keeps child processes",
		Version:     sdk.Version{Major: 1},
	}
}

// Suspend and Resume only log: the counter does nothing between calls.
func (c *counter) Suspend(context.Context) error {
	c.in.Log.Info("counter suspended", "value", c.currentValue())
	return nil
}

func (c *counter) Resume(context.Context) error {
	c.in.Log.Info("counter resumed", "value", c.currentValue())
	return nil
}

func (c *counter) AfterRestore(_ context.Context, w sdk.Wake) error {
	c.in.Log.Info("counter woke", "value", c.currentValue(), "generation", w.Generation, "slept", w.Slept.String())
	return nil
}

func (c *counter) Methods() sdk.Methods {
	return sdk.Methods{
		"get":       sdk.Method(c.get),
		"increment": sdk.Method(c.increment),
		"fill":      sdk.Method(c.fill),
		"digest":    sdk.Method(c.digest),
		"spawn":     sdk.Method(c.spawn),
		"children":  sdk.Method(c.countChildren),
		"clock":     sdk.Method(c.clock),
	}
}

type noParams struct{}

type value struct {
	Value int64 `json:"value"`
}

func (c *counter) currentValue() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

func (c *counter) get(context.Context, noParams) (value, error) {
	return value{c.currentValue()}, nil
}

// increment adds 1, or the number in the parameters. The events come in the order
// of the values.
func (c *counter) increment(_ context.Context, p struct {
	By *int64 `json:"by"`
}) (value, error) {
	by := int64(1)
	if p.By != nil {
		by = *p.By
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value += by
	c.in.Emit("changed", value{c.value})
	return value{c.value}, nil
}

type clock struct {
	Unix     int64 `json:"unix"`
	UptimeMs int64 `json:"uptimeMs"` // monotonic time, which stands still during a sleep
}

func (c *counter) clock(context.Context, noParams) (clock, error) {
	return clock{time.Now().Unix(), time.Since(c.begun).Milliseconds()}, nil
}
