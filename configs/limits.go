package configs

import (
	"math"

	"dormouse/internal/tomltable"
)

// Limits are the limits on memory, processors and threads of all processes of an instance
// together. A zero field sets no limit.
type Limits struct {
	// Memory is the most memory, with the file contents that the kernel caches for the
	// processes. Beyond this limit the kernel drops cached contents, and if that is not
	// enough it kills one of the processes.
	Memory Bytes `toml:"memory" use:"cgroup"`

	// Swap is how much memory the processes may have in the swap, nil for any amount.
	Swap *Bytes `toml:"swap" use:"cgroup"`

	// Pids is the largest number of threads.
	Pids int `toml:"pids" use:"cgroup"`

	// CPUWeight is the share of the processors when other processes want to run too. An
	// instance without this key has the weight 100.
	CPUWeight int `toml:"cpu-weight" use:"cgroup"`

	// OpenFiles is the largest number of open files of each single process.
	OpenFiles int `toml:"open-files" use:"exec"`
}

// ReadLimits reads the table "limits" that is in a table of an instance or of privileges.
func ReadLimits(table *tomltable.Table, l *Limits) {
	t := &tableReader{Table: table.Table("limits", "in the limits table "+table.Name, "a table")}
	t.ReadParsed("memory", `a size such as "64MiB"`, &l.Memory)
	if t.Has("swap") {
		l.Swap = new(Bytes)
		t.ReadParsed("swap", `a size such as "64MiB"`, l.Swap)
	}
	t.ReadInteger("pids", &l.Pids, 0, math.MaxInt32)
	t.ReadInteger("cpu-weight", &l.CPUWeight, 0, 10000)
	t.ReadInteger("open-files", &l.OpenFiles, 0, math.MaxInt32)
	t.ReportUnknownKeys()
}
