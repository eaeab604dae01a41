package manifest

import (
	"fmt"
	"path"
	"slices"

	"dormouse/configs"
)

// Privileges are the most that the instances of a package ask for.
type Privileges struct {
	// Limits are the highest of each limit. As in an instance, 0 and for swap nil is none.
	Limits configs.Limits
	// Environment are the names of the variables that instances set, Subsystems the
	// subsystems that they control; both sorted.
	Environment []string
	Subsystems  []string
}

// with returns the privileges that an instance needs besides p. isFirst reports whether no
// instance is in p yet.
func (p Privileges) with(plugin configs.Plugin, isFirst bool) Privileges {
	if isFirst {
		p.Limits = plugin.Limits
	} else {
		p.Limits = higherLimits(p.Limits, plugin.Limits)
	}
	for name := range plugin.Environment {
		p.Environment = append(p.Environment, name)
	}
	p.Environment = sortedUnique(p.Environment)
	p.Subsystems = sortedUnique(append(p.Subsystems, plugin.Controls...))
	return p
}

// sortedUnique sorts the texts, and returns each of them once.
func sortedUnique(texts []string) []string {
	slices.Sort(texts)
	return slices.Compact(texts)
}

// higherLimits returns the higher of each limit.
func higherLimits(a, b configs.Limits) configs.Limits {
	a.Memory = higher(a.Memory, b.Memory)
	a.Pids = higher(a.Pids, b.Pids)
	a.OpenFiles = higher(a.OpenFiles, b.OpenFiles)
	a.CPUWeight = max(weight(a.CPUWeight), weight(b.CPUWeight))
	if a.Swap != nil && (b.Swap == nil || *b.Swap > *a.Swap) {
		a.Swap = b.Swap
	}
	return a
}

// higher returns the higher of two limits, of which 0 is none.
func higher[T ~int | ~int64](a, b T) T {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// weight returns the share of the processors that a key "cpu-weight" gives.
func weight(key int) int {
	if key == 0 {
		return 100
	}
	return key
}

// limit is one limit that a package asks for, beside another one.
type limit struct {
	name         string
	asked, bound configs.Bytes // 0 is none
	isBytes      bool
}

// isMore reports whether more is asked for than the bound.
func (l limit) isMore() bool { return l.bound != 0 && (l.asked == 0 || l.asked > l.bound) }

// text says what is asked for.
func (l limit) text() string {
	asked := "any"
	if l.asked != 0 {
		asked = l.format(l.asked)
	}
	return fmt.Sprintf("%s %s instead of %s", asked, l.name, l.format(l.bound))
}

func (l limit) format(n configs.Bytes) string {
	if l.isBytes {
		return n.String()
	}
	return fmt.Sprint(int64(n))
}

// swapOrAny returns the bytes of a limit on swap, 0 for none. A limit of 0 bytes is 1.
func swapOrAny(swap *configs.Bytes) configs.Bytes {
	if swap == nil {
		return 0
	}
	return max(*swap, 1)
}

// limits returns what p asks for beside the bounds.
func (p Privileges) limits(bounds configs.Limits) []limit {
	a := p.Limits
	return []limit{
		{"memory", a.Memory, bounds.Memory, true},
		{"swap", swapOrAny(a.Swap), swapOrAny(bounds.Swap), true},
		{"threads", configs.Bytes(a.Pids), configs.Bytes(bounds.Pids), false},
		{"cpu-weight", configs.Bytes(weight(a.CPUWeight)), configs.Bytes(bounds.CPUWeight), false},
		{"open files", configs.Bytes(a.OpenFiles), configs.Bytes(bounds.OpenFiles), false},
	}
}

// MoreThan returns what m asks for that old does not, one text for each thing.
func (m Manifest) MoreThan(old Manifest) []string { return m.Privileges.MoreThan(old.Privileges) }

// MoreThan returns what p asks for that old does not, one text for each thing.
func (p Privileges) MoreThan(old Privileges) (more []string) {
	bounds := old.Limits
	bounds.CPUWeight = weight(bounds.CPUWeight)
	return p.beyond(bounds,
		func(name string) bool { return slices.Contains(old.Environment, name) },
		func(name string) bool { return slices.Contains(old.Subsystems, name) })
}

// Beyond returns what p asks for that the caps do not allow, one text for each thing.
func (p Privileges) Beyond(caps configs.Caps) []string {
	bounds := configs.Limits{Memory: caps.Memory, Pids: caps.Pids, CPUWeight: caps.CPUWeight, OpenFiles: caps.OpenFiles}
	if caps.Swap > 0 {
		bounds.Swap = &caps.Swap
	}
	return p.beyond(bounds,
		func(name string) bool { return matchesAny(caps.Environment, name) },
		func(name string) bool { return matchesAny(caps.Subsystems, name) })
}

// beyond returns what p asks for above the bounds, and the names that are not allowed.
func (p Privileges) beyond(bounds configs.Limits, variableAllowed, subsystemAllowed func(string) bool) (texts []string) {
	for _, l := range p.limits(bounds) {
		if l.isMore() {
			texts = append(texts, l.text())
		}
	}
	for _, name := range p.Environment {
		if !variableAllowed(name) {
			texts = append(texts, fmt.Sprintf("the variable %s", name))
		}
	}
	for _, name := range p.Subsystems {
		if !subsystemAllowed(name) {
			texts = append(texts, fmt.Sprintf("control of the subsystem %s", name))
		}
	}
	return texts
}

// matchesAny reports whether one of the patterns fits the name, see path.Match.
func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		fits, err := path.Match(pattern, name)
		return err == nil && fits
	})
}
