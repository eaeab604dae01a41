package process

import (
	"errors"
	"os"
	"path/filepath"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// paths are the places of the instance.
func (b *Backend) paths() shell.Paths {
	return shell.Paths{
		Callsign:   b.callsign,
		Persistent: b.persistentDir(),
		Volatile:   b.volatileDir(),
		Data:       b.host.dataDir(b.given),
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
	return filepath.Join(b.host.StateDir, "persistent", b.callsign)
}

// Paths are the directories of an instance, as its plugin is told them.
func (h Host) Paths(c configs.Plugin) *shellpb.Paths {
	return &shellpb.Paths{
		Persistent: filepath.Join(h.StateDir, "persistent", c.Callsign),
		Volatile:   filepath.Join(h.RunDir, c.Callsign, "volatile"),
		Data:       h.dataDir(c),
	}
}

func (h Host) dataDir(c configs.Plugin) string {
	switch {
	case c.Data != "":
		return c.Data
	case h.DataDir == "":
		return ""
	}
	return filepath.Join(h.DataDir, filepath.Base(c.Executable))
}

// Forget removes what is kept of an instance that is gone for good.
func (h Host) Forget(callsign string) error {
	return errors.Join(
		os.RemoveAll(filepath.Join(h.StateDir, "persistent", callsign)),
		os.RemoveAll(filepath.Join(h.RunDir, callsign)),
		h.Images.ImageDir(callsign).RemoveAll(),
	)
}
