package process

import (
	"errors"
	"os"
	"path/filepath"

	"dormouse/shell"
)

// paths are the places of the instance.
func (b *Backend) paths() shell.Paths {
	return shell.Paths{
		Callsign:   b.config.Callsign,
		Persistent: b.persistentDir(),
		Volatile:   b.volatileDir(),
		Data:       b.dataDir(),
		System:     b.host.StateDir,
	}
}

func (b *Backend) runDir() string      { return filepath.Join(b.host.RunDir, b.place) }
func (b *Backend) volatileDir() string { return filepath.Join(b.runDir(), "volatile") }

// persistentDir is among what is removed again in a probe, which must not leave
// a thing.
func (b *Backend) persistentDir() string {
	if b.isProbe() {
		return filepath.Join(b.runDir(), "persistent")
	}
	return filepath.Join(b.host.StateDir, "persistent", b.config.Callsign)
}

func (b *Backend) dataDir() string {
	switch {
	case b.config.Data != "":
		return b.config.Data
	case b.host.DataDir == "":
		return ""
	}
	return filepath.Join(b.host.DataDir, filepath.Base(b.config.Executable))
}

// Forget removes what is kept of an instance that is gone for good.
func (h Host) Forget(callsign string) error {
	return errors.Join(
		os.RemoveAll(filepath.Join(h.StateDir, "persistent", callsign)),
		os.RemoveAll(filepath.Join(h.RunDir, callsign)),
		h.Images.Slot(callsign).Remove(),
	)
}
