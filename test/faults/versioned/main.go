// Command versioned is a plugin of a package: each start appends the number of its version to its
// data, and to a key and a blob of its state, and the method data returns the data. With the
// configuration "fails" it ends soon after its start, with "spoils" it first overwrites the data.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dormouse/plugins/sdk"
)

func main() { sdk.Serve(&versioned{}) }

type versioned struct {
	configuration

	path  string
	state *sdk.StateStore
}

type configuration struct {
	Version string `json:"version"`
	Fails   bool   `json:"fails"`
	Spoils  bool   `json:"spoils"`
}

func (v *versioned) Initialize(ctx context.Context, in *sdk.Instance) error {
	c := &v.configuration
	if err := json.Unmarshal(in.Configuration, c); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "version", c.Version, "begins")
	v.path = filepath.Join(in.Persistent, "data")
	v.state = in.Host.State()
	if c.Fails {
		defer time.AfterFunc(200*time.Millisecond, func() { os.Exit(3) })
	}
	if err := v.appendToState(ctx, c.Version); err != nil {
		return err
	}
	if c.Spoils {
		if err := os.WriteFile(v.path, []byte("spoiled"), 0o600); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(v.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.WriteString(c.Version); err != nil {
		return err
	}
	return f.Sync()
}

// appendToState appends to the key "data", and to the blob of that name.
func (v *versioned) appendToState(ctx context.Context, text string) error {
	err := sdk.UpdateKey(ctx, v.state, "data", func(before string) (string, error) { return before + text, nil })
	if err != nil {
		return err
	}
	before, err := v.blob(ctx)
	if err == nil {
		_, err = v.state.PutBlob(ctx, "data", "text/plain", strings.NewReader(before+text))
	}
	return err
}

// blob returns the text of the blob, nothing if there is none.
func (v *versioned) blob(ctx context.Context) (string, error) {
	b, err := v.state.OpenBlob(ctx, "data")
	if errors.Is(err, sdk.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer b.Close()
	text, err := io.ReadAll(b)
	return string(text), err
}

func (v *versioned) Deinitialize(context.Context, sdk.Reason) error {
	fmt.Fprintln(os.Stderr, "version", v.Version, "ends")
	return nil
}

func (v *versioned) Information() sdk.Information { return sdk.Information{} }

func (v *versioned) Methods() sdk.Methods {
	return sdk.Methods{"data": sdk.Method(func(context.Context, json.RawMessage) (string, error) {
		text, err := os.ReadFile(v.path)
		return string(text), err
	})}
}
