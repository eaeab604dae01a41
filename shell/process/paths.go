package process

import (
	"path/filepath"

	"dormouse/configs"
	"dormouse/shell/shellpb"
)

// Paths are the directories of an instance, as its plugin is told them.
func (h Host) Paths(c configs.Plugin) *shellpb.Paths {
	return &shellpb.Paths{
		Persistent: filepath.Join(h.StateDir, "persistent", c.Callsign),
		Volatile:   filepath.Join(h.RunDir, c.Callsign, "volatile"),
		Data:       c.Data,
	}
}
