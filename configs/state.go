package configs

import "math"

// State is the table [state]: how much durable state each plugin may have, virtual ones and
// those that are no longer installed too. A zero is no bound.
type State struct {
	// MaxKeys and MaxKeyBytes bound the keys of one plugin, and the bytes of keys and values.
	MaxKeys     int   `toml:"max-keys"`
	MaxKeyBytes Bytes `toml:"max-key-bytes"`

	// MaxBlobs and MaxBlobBytes bound the blobs of one plugin, and their bytes.
	MaxBlobs     int   `toml:"max-blobs"`
	MaxBlobBytes Bytes `toml:"max-blob-bytes"`

	// MaxBytes bounds keys, values and blobs of all plugins together.
	MaxBytes Bytes `toml:"max-bytes"`
}

// defaultState returns the table [state] of a host without configuration.
func defaultState() State {
	return State{
		MaxKeys: 100_000, MaxKeyBytes: 64 << 20,
		MaxBlobs: 10_000, MaxBlobBytes: 4 << 30,
		MaxBytes: 16 << 30,
	}
}

// readState reads the table [state].
func (f *configFile) readState(t *tableReader) {
	s := &f.config.State
	t.ReadInteger("max-keys", &s.MaxKeys, 0, math.MaxInt32)
	t.ReadParsed("max-key-bytes", `a size such as "64MiB"`, &s.MaxKeyBytes)
	t.ReadInteger("max-blobs", &s.MaxBlobs, 0, math.MaxInt32)
	t.ReadParsed("max-blob-bytes", `a size such as "4GiB"`, &s.MaxBlobBytes)
	t.ReadParsed("max-bytes", `a size such as "16GiB"`, &s.MaxBytes)
	t.ReportUnknownKeys()
}
