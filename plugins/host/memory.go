package host

import (
	"os"
	"runtime/debug"

	"dormouse/internal/http2room"
	"dormouse/plugins/peer"
)

// boundMemory bounds the memory of the host as configured: that of messages on their way, and
// that of Go's runtime unless the environment says how much that may be. A private host has
// no bounds.
func (h *Host) boundMemory() {
	if h.options.private {
		return
	}
	config := h.options.Config.Host
	h.memory = peer.NewMemory(int64(config.MessageMemory()), int64(config.ClientMemoryOrDefault()))
	h.room = http2room.NewRoom(int64(config.Memory/8), h.memory.NoteArriving)
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(int64(config.Memory))
	}
}
