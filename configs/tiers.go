package configs

import (
	"math"
	"time"
)

// Tiers are the conditions under which the host puts plugins to sleep by itself.
type Tiers struct {
	// DryRun makes the host only log which plugins it would put to sleep.
	DryRun bool `toml:"dry-run"`

	Pressure Pressure `toml:"pressure"`

	// PressureSome is the time that threads of the machine must have waited for memory
	// within PressureWindow for memory to be short, see "some" in
	// Documentation/accounting/psi.rst of the Linux source.
	PressureSome   Duration `toml:"pressure-some"`
	PressureWindow Duration `toml:"pressure-window"`

	// MemoryAvailable is the available memory, of the machine or of the host's cgroup, below
	// which memory is short too, 0 for no such limit.
	MemoryAvailable Bytes `toml:"memory-available"`

	// MemoryReserve is the memory that the host keeps ready for putting plugins to sleep
	// when memory is short, 0 for none.
	MemoryReserve Bytes `toml:"memory-reserve"`

	// BudgetCount is how many plugins may be awake at the same time, BudgetBytes how much
	// memory they may have together; 0 for any number.
	BudgetCount int   `toml:"budget-count"`
	BudgetBytes Bytes `toml:"budget-bytes"`
}

// defaultTiers returns Tiers without reaction to short memory and without budgets.
func defaultTiers() Tiers {
	return Tiers{
		Pressure:        PressureOff,
		PressureSome:    Duration(150 * time.Millisecond),
		PressureWindow:  Duration(2 * time.Second),
		MemoryAvailable: 32 << 20,
		MemoryReserve:   24 << 20,
	}
}

// readTiers reads the keys of Tiers from the table [hibernate], and reports a window that the
// kernel would not accept.
func readTiers(t *tableReader, r *Tiers) {
	t.ReadBool("dry-run", &r.DryRun)
	readAllowedWord(t, "pressure", &r.Pressure, PressureOff, PressureOn, PressureReport)
	t.readDuration("pressure-some", &r.PressureSome)
	t.readDuration("pressure-window", &r.PressureWindow)
	least, most := Duration(500*time.Millisecond), Duration(10*time.Second) // as the kernel requires
	if r.PressureWindow < least || r.PressureWindow > most {
		t.AddProblem("pressure-window", "key %q %s must be between %s and %s", "pressure-window", t.Name, least, most)
	} else if r.PressureSome > r.PressureWindow {
		t.AddProblem("pressure-some", "key %q %s must not be longer than the window, %s", "pressure-some", t.Name, r.PressureWindow)
	}
	t.ReadParsed("memory-available", `a size such as "64MiB"`, &r.MemoryAvailable)
	t.ReadParsed("memory-reserve", `a size such as "64MiB"`, &r.MemoryReserve)
	t.ReadInteger("budget-count", &r.BudgetCount, 0, math.MaxInt32)
	t.ReadParsed("budget-bytes", `a size such as "64MiB"`, &r.BudgetBytes)
}

// Idling is when the host suspends and hibernates an instance that gets no calls.
type Idling struct {
	// IdleSuspend and IdleHibernate are the times since the last call after which the
	// host suspends and hibernates the instance.
	IdleSuspend   IdleTime `toml:"idle-suspend" use:"adjust"`
	IdleHibernate IdleTime `toml:"idle-hibernate" use:"adjust"`

	// AutoHibernate is the value of the key "auto-hibernate", nil without the key; see
	// Plugin.MayAutoHibernate.
	AutoHibernate *bool `toml:"auto-hibernate" use:"adjust"`

	// MinAwake is how long after a start, a wake or a call the host does not put the
	// instance to sleep by itself.
	MinAwake Duration `toml:"min-awake" use:"adjust"`
}

// MayAutoHibernate reports whether the host may hibernate the instance by itself. Without
// the key "auto-hibernate" the host may if a call wakes the instance, or if IdleHibernate is
// set.
func (p Plugin) MayAutoHibernate() bool {
	if p.AutoHibernate != nil {
		return *p.AutoHibernate
	}
	return p.OnCall == OnCallWake || p.IdleHibernate > 0
}

// readIdling reads the keys of Idling from the table of a plugin, and reports an
// idle-hibernate that auto-hibernate forbids.
func readIdling(t *tableReader, i *Idling) {
	t.ReadParsed("idle-suspend", `a duration such as "5m"`, &i.IdleSuspend)
	t.ReadParsed("idle-hibernate", `a duration such as "5m"`, &i.IdleHibernate)
	t.ReadOptionalBool("auto-hibernate", &i.AutoHibernate)
	t.readDuration("min-awake", &i.MinAwake)
	if i.AutoHibernate != nil && !*i.AutoHibernate && i.IdleHibernate > 0 {
		t.AddProblem("auto-hibernate", "keys \"auto-hibernate\" and \"idle-hibernate\" %s contradict each other", t.Name)
	}
}
