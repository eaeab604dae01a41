package configs

import "math"

// Limits is what the processes of one instance may take together. Zero is what the
// host itself may.
type Limits struct {
	// Memory counts what the kernel holds for them in files too. Beyond it some of
	// that is dropped, and when that is not enough one of them is killed.
	Memory Bytes `toml:"memory" use:"cgroup"`

	// Swap is what may be swapped out besides; nil for any.
	Swap *Bytes `toml:"swap" use:"cgroup"`

	// Pids counts threads.
	Pids int `toml:"pids" use:"cgroup"`

	// CPUWeight is their share of the processors where others want them too, of
	// which an instance without it has 100.
	CPUWeight int `toml:"cpu-weight" use:"cgroup"`

	// OpenFiles is for each process alone.
	OpenFiles int `toml:"open-files" use:"exec"`
}

func (f *file) readLimits(t *table, l *Limits) {
	values, _ := get[map[string]any](t, "limits", "a table")
	t = &table{file: f, name: "in the limits table " + t.name, place: t.place.key("limits"), values: values}
	t.parsed("memory", `a size such as "64MiB"`, &l.Memory)
	if _, given := values["swap"]; given {
		l.Swap = new(Bytes)
		t.parsed("swap", `a size such as "64MiB"`, l.Swap)
	}
	t.integer("pids", &l.Pids, 0, math.MaxInt32)
	t.integer("cpu-weight", &l.CPUWeight, 0, 10000)
	t.integer("open-files", &l.OpenFiles, 0, math.MaxInt32)
	t.unknown()
}
