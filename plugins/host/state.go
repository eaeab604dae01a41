package host

import (
	"context"
	"errors"
	"path/filepath"

	"dormouse/configs"
	"dormouse/plugins/packager"
	"dormouse/plugins/state"
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

// packageState returns how the state of packages' instances, and of their virtual plugins, is
// kept for a rollback.
func (h *Host) packageState() packager.State {
	return packager.State{
		Keep: func(ctx context.Context, callsign, dir string) error {
			owners := []string{callsign}
			for _, child := range h.Supervisor.VirtualsOf(callsign) {
				owners = append(owners, child.Callsign)
			}
			return h.State.Keep(ctx, dir, owners...)
		},
		PutBack: h.State.PutBack,
	}
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
