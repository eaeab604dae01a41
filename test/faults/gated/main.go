// Command gated is a plugin of flows that waits at gates, files that a test makes: before it serves,
// at the one whose path is in the file "gate" beside its program, and when it is initialized and
// deinitialized, at those of its configuration. It has the flows of plugins/examples/lines.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"dormouse/plugins/sdk"
)

func main() {
	program, err := os.Executable()
	if err != nil {
		panic(err)
	}
	gate, err := os.ReadFile(filepath.Join(filepath.Dir(program), "gate"))
	if err == nil {
		err = pass(context.Background(), string(bytes.TrimSpace(gate)))
	}
	if err != nil && !os.IsNotExist(err) {
		panic(err)
	}
	sdk.Serve(&gated{})
}

type gated struct {
	File  string `json:"file"`
	Start string `json:"start"`
	End   string `json:"end"`
}

func (g *gated) Initialize(ctx context.Context, in *sdk.Instance) error {
	if err := in.Configuration.Decode(g); err != nil {
		return err
	}
	return pass(ctx, g.Start)
}

func (g *gated) Deinitialize(ctx context.Context, _ sdk.Reason) error { return pass(ctx, g.End) }

func (g *gated) Information() sdk.Information { return sdk.Information{} }

func (g *gated) Methods() sdk.Methods { return sdk.Methods{} }

// Process passes a message on, in upper case, or appends it to the file. The message "die" ends
// the plugin.
func (g *gated) Process(_ context.Context, flow string, m sdk.Message) ([]sdk.Message, error) {
	if string(m.Body) == "die" {
		os.Exit(3)
	}
	if flow != "file" {
		return []sdk.Message{{Body: bytes.ToUpper(m.Body)}}, nil
	}
	f, err := os.OpenFile(g.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%s\n", m.Body)
	return nil, err
}

// pass returns once there is a file at path, at once for no path.
func pass(ctx context.Context, path string) error {
	if path == "" {
		return nil
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
