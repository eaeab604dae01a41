// Counter is a plugin with a value in memory and nowhere else: after a wake it
// must be what it was. To make hibernation work for its living it can also
// fill memory and keep a chain of child processes.
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
	in     *sdk.Instance
	begun  time.Time
	memory memory
	family family

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
		Fill  int   `json:"fill"` // MiB, for work that takes its time
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
	c.in.Log.Info("counter ended", "value", c.present(), "reason", why)
	_, err := c.family.replace(ctx, 0)
	return err
}

func (c *counter) Information() sdk.Information {
	return sdk.Information{
		Name:        "counter",
		Description: "counts, fills memory and keeps child processes",
		Version:     sdk.Version{Major: 1},
	}
}

// Suspend and Resume have nothing to stop: the counter does nothing between
// calls.
func (c *counter) Suspend(context.Context) error {
	c.in.Log.Info("counter suspended", "value", c.present())
	return nil
}

func (c *counter) Resume(context.Context) error {
	c.in.Log.Info("counter resumed", "value", c.present())
	return nil
}

func (c *counter) AfterRestore(_ context.Context, w sdk.Wake) error {
	c.in.Log.Info("counter woke", "value", c.present(), "generation", w.Generation, "slept", w.Slept.String())
	return nil
}

func (c *counter) Methods() sdk.Methods {
	return sdk.Methods{
		"get":       sdk.Method(c.get),
		"increment": sdk.Method(c.increment),
		"fill":      sdk.Method(c.fill),
		"digest":    sdk.Method(c.digest),
		"spawn":     sdk.Method(c.spawn),
		"children":  sdk.Method(c.children),
		"clock":     sdk.Method(c.clock),
	}
}

type none struct{}

type value struct {
	Value int64 `json:"value"`
}

func (c *counter) present() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

func (c *counter) get(context.Context, none) (value, error) {
	return value{c.present()}, nil
}

// increment adds 1 if the caller doesn't say by how much. Events leave in the
// order of the values.
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
	UptimeMs int64 `json:"uptimeMs"` // monotonic: does not count time asleep
}

func (c *counter) clock(context.Context, none) (clock, error) {
	return clock{time.Now().Unix(), time.Since(c.begun).Milliseconds()}, nil
}
