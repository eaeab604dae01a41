package configs

import (
	"math"
	"time"
)

// Flows is the table [flows]: how much may wait for the plugins of all flows together, and when
// a plugin is woken for what waits.
type Flows struct {
	// MaxMessages and MaxBytes bound the queues of all flows together, dead letters
	// included; 0 is no bound.
	MaxMessages int   `toml:"max-messages"`
	MaxBytes    Bytes `toml:"max-bytes"`

	// A hibernated plugin with on-call = "wake" is woken when WakeMessages wait for it, or
	// one has waited for WakeAfter.
	WakeMessages int      `toml:"wake-messages"`
	WakeAfter    Duration `toml:"wake-after"`

	// Remotes are the topics that are bound to streams of NATS servers.
	Remotes []Remote `toml:"remote"`
}

// defaultFlows returns the table [flows] of a host without configuration.
func defaultFlows() Flows {
	return Flows{
		MaxMessages:  2_000_000,
		MaxBytes:     2 << 30,
		WakeMessages: 10,
		WakeAfter:    Duration(5 * time.Second),
	}
}

// readFlows reads the table [flows].
func (f *configFile) readFlows(t *tableReader) {
	w := &f.config.Flows
	t.ReadInteger("max-messages", &w.MaxMessages, 0, math.MaxInt32)
	t.ReadParsed("max-bytes", `a size such as "64MiB"`, &w.MaxBytes)
	t.ReadInteger("wake-messages", &w.WakeMessages, 1, math.MaxInt32)
	t.readDuration("wake-after", &w.WakeAfter)
	for _, table := range t.Tables("remote", "in [[flows.remote]]", "a list of tables, each written [[flows.remote]]") {
		f.readRemote(&tableReader{table, t.file})
	}
	t.ReportUnknownKeys()
}
