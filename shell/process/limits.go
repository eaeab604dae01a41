package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"dormouse/configs"
	"dormouse/shell"
)

// ownTasks is what a plugin's cgroup holds besides the plugin: its pid 1, and an
// engine while that dumps or restores it.
const ownTasks = 8

// setting is one limit as the kernel is told it.
type setting struct{ key, controller, file, value string }

// settings are the limits that a cgroup enforces.
func settings(l configs.Limits) (all []setting) {
	add := func(key, controller, file string, value int64) {
		all = append(all, setting{key, controller, file, strconv.FormatInt(value, 10)})
	}
	if l.Memory > 0 {
		add("memory", "memory", "memory.max", int64(l.Memory))
	}
	if l.Swap != nil {
		add("swap", "memory", "memory.swap.max", int64(*l.Swap))
	}
	if l.Pids > 0 {
		add("pids", "pids", "pids.max", int64(l.Pids)+ownTasks)
	}
	if l.CPUWeight > 0 {
		add("cpu-weight", "cpu", "cpu.weight", int64(l.CPUWeight))
	}
	return all
}

// Enforces says which of the limits can't be enforced, and why; nil when all can.
// It may be asked where there are no cgroups.
func (c *Cgroups) Enforces(l configs.Limits) error {
	for _, s := range settings(l) {
		switch {
		case c == nil:
			return fmt.Errorf("%w: limits.%s needs cgroup v2, which plugins do without here; dormouse doctor says why", shell.ErrNotSupported, s.key)
		case c.controllers[s.controller] != nil:
			return fmt.Errorf("%w: limits.%s needs the cgroup controller %s: %w", shell.ErrNotSupported, s.key, s.controller, c.controllers[s.controller])
		}
	}
	return nil
}

// limit tells the kernel what the processes in the cgroup may take.
func (l *leaf) limit() error {
	for _, s := range l.settings {
		if err := write(filepath.Join(l.dir, s.file), s.value); err != nil {
			return fmt.Errorf("cannot set limits.%s: %w", s.key, err)
		}
	}
	return nil
}

// kills is how often the kernel has ended a process of the cgroup for want of
// memory; 0 where it does not count that.
func (l *leaf) kills() int {
	if l == nil {
		return 0
	}
	text, _ := os.ReadFile(filepath.Join(l.dir, "memory.events"))
	for line := range strings.Lines(string(text)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(count))
			return n
		}
	}
	return 0
}

// write fills a file of the kernel's.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
