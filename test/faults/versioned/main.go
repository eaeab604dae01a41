// Command versioned is a plugin of a package: each start appends the number of its version to its
// data, and the method data returns that. With the configuration "fails" it ends soon after its
// start.
package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"dormouse/plugins/sdk"
)

func main() { sdk.Serve(&versioned{}) }

type versioned struct{ path string }

type configuration struct {
	Version string `json:"version"`
	Fails   bool   `json:"fails"`
}

func (v *versioned) Initialize(_ context.Context, in *sdk.Instance) error {
	var c configuration
	if err := json.Unmarshal(in.Configuration, &c); err != nil {
		return err
	}
	v.path = filepath.Join(in.Persistent, "data")
	if c.Fails {
		time.AfterFunc(10*time.Millisecond, func() { os.Exit(3) })
	}
	f, err := os.OpenFile(v.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(c.Version)
	return err
}

func (v *versioned) Deinitialize(context.Context, sdk.Reason) error { return nil }

func (v *versioned) Information() sdk.Information { return sdk.Information{} }

func (v *versioned) Methods() sdk.Methods {
	return sdk.Methods{"data": sdk.Method(func(context.Context, json.RawMessage) (string, error) {
		text, err := os.ReadFile(v.path)
		return string(text), err
	})}
}
