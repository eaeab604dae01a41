package configs

import (
	"math"
	"time"
)

// Tasks is the table [tasks]: how many tasks there may be, how much they may leave, and for how
// long.
type Tasks struct {
	// Keep is for how long a task is kept that has ended, KeepCount how many are.
	Keep      Duration `toml:"keep"`
	KeepCount int      `toml:"keep-count"`

	// CancelGrace is how long a plugin has to end a task that is to be cancelled.
	CancelGrace Duration `toml:"cancel-grace"`

	// FollowEvery is how often a task elsewhere is read that one of this host follows, in case a
	// webhook is lost or can't be had.
	FollowEvery Duration `toml:"follow-every"`

	// MaxPending bounds the tasks of one instance that have not ended.
	MaxPending int `toml:"max-pending"`

	// OutputBytes bounds the outputs of one task, AllOutputBytes those of all.
	OutputBytes    Bytes `toml:"output-bytes"`
	AllOutputBytes Bytes `toml:"all-output-bytes"`
}

// DefaultTasks returns the table [tasks] of a host without configuration.
func DefaultTasks() Tasks {
	return Tasks{
		Keep:           Duration(7 * 24 * time.Hour),
		KeepCount:      10_000,
		CancelGrace:    Duration(10 * time.Second),
		FollowEvery:    Duration(time.Minute),
		MaxPending:     1000,
		OutputBytes:    1 << 30,
		AllOutputBytes: 10 << 30,
	}
}

// readTasks reads the table [tasks].
func (f *configFile) readTasks(t *tableReader) {
	w := &f.config.Tasks
	t.readDuration("keep", &w.Keep)
	t.ReadInteger("keep-count", &w.KeepCount, 0, math.MaxInt32)
	t.readDuration("cancel-grace", &w.CancelGrace)
	t.readDuration("follow-every", &w.FollowEvery)
	if w.FollowEvery < Duration(time.Second) {
		t.AddProblem("follow-every", "key %q %s: %s is less than 1s", "follow-every", t.Name, w.FollowEvery)
	}
	t.ReadInteger("max-pending", &w.MaxPending, 1, math.MaxInt32)
	t.readSize("output-bytes", &w.OutputBytes, 0)
	t.readSize("all-output-bytes", &w.AllOutputBytes, 0)
	t.ReportUnknownKeys()
}
