package configs

import (
	"fmt"
	"math"
	"time"
)

// Tiers is when the host puts plugins to sleep by itself.
type Tiers struct {
	// DryRun makes all that would happen by itself be told only.
	DryRun bool `toml:"dry-run"`

	Pressure Pressure `toml:"pressure"`

	// PressureSome is for how long within PressureWindow some task must have stood
	// still for want of memory.
	PressureSome   Duration `toml:"pressure-some"`
	PressureWindow Duration `toml:"pressure-window"`

	// MemoryAvailable is the floor below which memory is short too; 0 for none.
	MemoryAvailable Bytes `toml:"memory-available"`

	// BudgetCount and BudgetBytes are how many plugins, and how much memory of
	// theirs, are to be awake; 0 for any.
	BudgetCount int   `toml:"budget-count"`
	BudgetBytes Bytes `toml:"budget-bytes"`
}

func defaultTiers() Tiers {
	return Tiers{
		Pressure:       PressureOff,
		PressureSome:   Duration(150 * time.Millisecond),
		PressureWindow: Duration(2 * time.Second),
	}
}

// Idling is what the host may do with an instance that nobody uses.
type Idling struct {
	// IdleSuspend and IdleHibernate are counted from the last call.
	IdleSuspend   Idle `toml:"idle-suspend" use:"adjust"`
	IdleHibernate Idle `toml:"idle-hibernate" use:"adjust"`

	// AutoHibernate is the key as given, nil when absent; ask Plugin.MaySleep.
	AutoHibernate *bool `toml:"auto-hibernate" use:"adjust"`

	// MinAwake is for how long after a start, a wake or a call nothing is done.
	MinAwake Duration `toml:"min-awake" use:"adjust"`
}

// MaySleep reports whether the host may hibernate the instance by itself. Unless
// the configuration says, it may if no caller would be refused for it, or if it is
// to sleep when idle anyway.
func (p Plugin) MaySleep() bool {
	if p.AutoHibernate != nil {
		return *p.AutoHibernate
	}
	return p.OnCall == OnCallWake || p.IdleHibernate > 0
}

// Pressure is what short memory leads to.
type Pressure string

// The answers to short memory: nothing, sleep, and a line that says who would.
const (
	PressureOff    Pressure = "off"
	PressureOn     Pressure = "on"
	PressureReport Pressure = "report"
)

// Idle is a time without use, 0 for one that never comes.
type Idle time.Duration

const never = "never"

func (i Idle) String() string {
	if i == 0 {
		return never
	}
	return time.Duration(i).String()
}

// MarshalText writes what UnmarshalText reads back exactly.
func (i Idle) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText leaves i as it was when it returns an error.
func (i *Idle) UnmarshalText(text []byte) error {
	if string(text) == never {
		*i = 0
		return nil
	}
	var d Duration
	if err := d.UnmarshalText(text); err != nil {
		return fmt.Errorf("%w, or %q", err, never)
	}
	*i = Idle(d)
	return nil
}

func readTiers(t *table, r *Tiers) {
	t.boolean("dry-run", &r.DryRun)
	word(t, "pressure", &r.Pressure, PressureOff, PressureOn, PressureReport)
	t.duration("pressure-some", &r.PressureSome)
	t.duration("pressure-window", &r.PressureWindow)
	least, most := Duration(500*time.Millisecond), Duration(10*time.Second) // the kernel's
	if r.PressureWindow < least || r.PressureWindow > most {
		t.problem(t.place.key("pressure-window"), "key %q %s must be between %s and %s", "pressure-window", t.name, least, most)
	} else if r.PressureSome > r.PressureWindow {
		t.problem(t.place.key("pressure-some"), "key %q %s must not be longer than the window, %s", "pressure-some", t.name, r.PressureWindow)
	}
	t.parsed("memory-available", `a size such as "64MiB"`, &r.MemoryAvailable)
	t.integer("budget-count", &r.BudgetCount, 0, math.MaxInt32)
	t.parsed("budget-bytes", `a size such as "64MiB"`, &r.BudgetBytes)
}

func readIdling(t *table, i *Idling) {
	t.parsed("idle-suspend", `a duration such as "5m"`, &i.IdleSuspend)
	t.parsed("idle-hibernate", `a duration such as "5m"`, &i.IdleHibernate)
	t.optionalBool("auto-hibernate", &i.AutoHibernate)
	t.duration("min-awake", &i.MinAwake)
	if i.AutoHibernate != nil && !*i.AutoHibernate && i.IdleHibernate > 0 {
		t.problem(t.place.key("auto-hibernate"), "keys \"auto-hibernate\" and \"idle-hibernate\" %s contradict each other", t.name)
	}
}
