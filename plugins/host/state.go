package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"dormouse/configs"
	"dormouse/plugins/packager"
	"dormouse/plugins/state"
	"dormouse/supervisor"
)

// openState opens the state that plugins keep with the host.
func (h *Host) openState() (err error) {
	config := h.options.Config
	h.State, err = state.New(state.Options{
		Store: h.store, Dir: filepath.Join(config.Host.Root, state.DirName), Quotas: config.State, Log: h.log,
	})
	return err
}

// ReplaceStateQuotas gives the state the quotas of a configuration that was read again, and
// reports whether they differ.
func (h *Host) ReplaceStateQuotas(config configs.Config) (differ bool) {
	return h.State.SetQuotas(config.State)
}

// packageState returns how the state of packages' instances is kept for a rollback.
func (h *Host) packageState() packager.State {
	return packager.State{Keep: h.keepState, PutBack: h.putStateBack}
}

// keptVirtualsName is the file with the virtual plugins of an instance, beside its kept state.
const keptVirtualsName = "virtuals.json"

// keepState keeps the virtual plugins of an instance, and the state of all of them, in an empty
// directory.
func (h *Host) keepState(ctx context.Context, callsign, dir string) error {
	children, err := supervisor.KeptVirtualsOf(h.store, callsign) // the supervisor may not exist yet
	if err != nil {
		return fmt.Errorf("cannot keep the virtual plugins of %s: %w", callsign, err)
	}
	owners := []string{callsign}
	for _, child := range children {
		owners = append(owners, child.Callsign)
	}
	text, err := json.Marshal(children)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, keptVirtualsName), text, 0o600) // the packages make dir durable
	}
	if err != nil {
		return fmt.Errorf("cannot keep the virtual plugins of %s: %w", callsign, err)
	}
	return h.State.Keep(ctx, dir, owners...)
}

// putStateBack puts back what keepState has kept, if there is something. State of a virtual plugin
// whose callsign is now that of another instance is left out: the other would get it.
func (h *Host) putStateBack(ctx context.Context, callsign, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, keptVirtualsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var children []supervisor.Virtual
	if err == nil {
		err = json.Unmarshal(text, &children)
	}
	if err != nil {
		return fmt.Errorf("cannot put the virtual plugins of %s back: %w", callsign, err)
	}
	taken, err := h.Supervisor.PutVirtualsBack(callsign, children)
	if err != nil {
		return err
	}
	return h.State.PutBack(ctx, dir, taken...)
}

// removeKept removes all that is kept of an instance that is gone for good: its files and its
// state.
func (h *Host) removeKept(callsign string) error {
	return errors.Join(h.Processes.RemoveInstanceFiles(callsign), h.State.Remove(context.Background(), callsign))
}

// keptPaths returns what is kept of an instance of that callsign.
func (h *Host) keptPaths(callsign string) []string {
	kept := h.Processes.KeptPaths(callsign)
	if has, err := h.State.Has(context.Background(), callsign); has || err != nil {
		kept = append(kept, "state (see dormouse state list "+callsign+")")
	}
	return kept
}
