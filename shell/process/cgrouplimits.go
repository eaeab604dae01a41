package process

import (
	"fmt"
	"strconv"

	"dormouse/configs"
	"dormouse/shell"
)

// extraPids are the threads that a plugin's cgroup holds besides the plugin: its pid 1,
// and an engine while it dumps or restores the plugin.
const extraPids = 8

// cgroupSetting is one limit as the kernel takes it: a value for a file of the cgroup.
type cgroupSetting struct{ key, controller, file, value string }

// cgroupSettings returns the limits that a cgroup enforces. The limit of open files is not
// among them.
func cgroupSettings(l configs.Limits) (settings []cgroupSetting) {
	add := func(key, controller, file string, value int64) {
		settings = append(settings, cgroupSetting{key, controller, file, strconv.FormatInt(value, 10)})
	}
	if l.Memory > 0 {
		add("memory", "memory", "memory.max", int64(l.Memory))
	}
	if l.Swap != nil {
		add("swap", "memory", "memory.swap.max", int64(*l.Swap))
	}
	if l.Pids > 0 {
		add("pids", "pids", "pids.max", int64(l.Pids)+extraPids)
	}
	if l.CPUWeight > 0 {
		add("cpu-weight", "cpu", "cpu.weight", int64(l.CPUWeight))
	}
	return settings
}

// CheckLimits returns nil if all limits can be enforced here, and otherwise an error
// that wraps shell.ErrNotSupported and says why. c may be nil, for a host without cgroups.
func (c *Cgroups) CheckLimits(l configs.Limits) error {
	for _, s := range cgroupSettings(l) {
		switch {
		case c == nil:
			return fmt.Errorf("%w: limits.%s needs cgroup v2, which plugins do without here; dormouse doctor says why", shell.ErrNotSupported, s.key)
		case c.unavailable[s.controller] != nil:
			return fmt.Errorf("%w: limits.%s needs the cgroup controller %s: %w", shell.ErrNotSupported, s.key, s.controller, c.unavailable[s.controller])
		}
	}
	return nil
}

// setLimits writes the limits of the instance to the cgroup's files.
func (g *pluginCgroup) setLimits() error {
	for _, s := range g.settings {
		if err := g.Set(s.file, s.value); err != nil {
			return fmt.Errorf("cannot set limits.%s: %w", s.key, err)
		}
	}
	return nil
}
