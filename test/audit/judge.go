package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dormouse/internal/filenames"
	"dormouse/internal/procfs"
)

// judgeAll adds to the report everything that is wrong with the facts.
func (a auditor) judgeAll(f *facts) {
	states := a.instanceStates(f)
	for callsign, r := range states {
		f.report.Instances = append(f.report.Instances, a.judgeInstance(f, callsign, r))
	}
	slices.SortFunc(f.report.Instances, func(x, y Instance) int { return strings.Compare(x.Callsign, y.Callsign) })
	a.judgeStrays(f, states)
	a.judgeCgroups(f, states)
	a.judgeDescriptors(f)
	a.judgeSockets(f, states)
	a.judgeFiles(f, states)
	for _, m := range mounts() {
		if strings.HasPrefix(m.at, a.root+"/") && m.at != a.images {
			f.wrong("%s is mounted at %s", m.kind, m.at)
		}
	}
}

// instanceStates returns the state that the host reports of each instance, by
// callsign. Without a host only images are in order.
func (a auditor) instanceStates(f *facts) map[string]reported {
	states := make(map[string]reported)
	for _, r := range f.reported {
		states[r.Callsign] = r
	}
	paths, _ := filepath.Glob(filepath.Join(a.images, "*", "image"))
	for _, path := range paths {
		callsign := filepath.Base(filepath.Dir(path))
		if _, known := states[callsign]; known {
			continue
		}
		if f.host != 0 {
			f.wrong("%s is an image of no instance", path)
		}
		states[callsign] = reported{Callsign: callsign, State: "hibernated"}
	}
	return states
}

// hasProcess reports whether the instance has a process in its state.
func (r reported) hasProcess() bool {
	return r.State == "activated" || r.State == "suspended" || r.State == "resumed" || r.sleepsInPlace()
}

// hasImage reports whether the instance has an image in its state.
func (r reported) hasImage() bool { return r.State == "hibernated" && !r.sleepsInPlace() }

// sleepsInPlace reports whether the instance's processes are frozen.
func (r reported) sleepsInPlace() bool {
	return r.State == "hibernated" && r.Image != nil && strings.HasPrefix(r.Image.Engine, "pageout")
}

// judgeInstance compares the state of an instance with its processes and its image.
func (a auditor) judgeInstance(f *facts, callsign string, r reported) Instance {
	i := Instance{Callsign: callsign, State: r.State}
	roots, pids := 0, []int{}
	for _, p := range f.processes {
		if p.leaf != callsign {
			continue
		}
		pids = append(pids, p.pid)
		if procfs.NSPid(p.pid) == 1 {
			roots++
		}
		if !strings.ContainsRune("SRDI", rune(p.state)) && !r.sleepsInPlace() {
			f.wrong("%s: process %d (%s) is in state %c", callsign, p.pid, p.name, p.state)
		}
	}
	i.Processes, i.RSS = len(pids), procfs.RSS(pids)
	for _, pid := range pids {
		i.Descriptors += len(procfs.Descriptors(pid))
	}
	entries, _ := os.ReadDir(filepath.Join(a.images, callsign, "image"))
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			i.Image += info.Size()
		}
	}
	_, err := os.Stat(filepath.Join(a.images, callsign, "refused"))
	i.Refused = err == nil
	aside, _ := filenames.PathsIn(filepath.Join(a.images, callsign), "aside-", "")
	i.Aside = len(slices.DeleteFunc(aside, func(path string) bool { return strings.HasSuffix(path, ".unusable") }))
	switch {
	case r.hasProcess():
		if roots != 1 || !slices.Contains(pids, r.PID) {
			f.wrong("%s is %s as process %d, and has the processes %v, %d of them first in a namespace", callsign, r.State, r.PID, pids, roots)
		}
	case len(pids) > 0:
		f.wrong("%s is %s, and has the processes %v", callsign, r.State, pids)
	}
	switch _, err := os.Stat(filepath.Join(a.images, callsign, "image", "manifest")); {
	case r.hasImage() && err != nil:
		f.wrong("%s is hibernated without an image: %v", callsign, err)
	case !r.hasImage() && len(entries) > 0:
		f.wrong("%s is %s, and has an image", callsign, r.State)
	case !r.hasProcess() && !r.hasImage() && !slices.Contains(restingStates, r.State):
		f.wrong("%s is in between: %s", callsign, r.State)
	}
	return i
}

// restingStates are the states without a process and an image in which no operation runs.
var restingStates = []string{"deactivated", "unavailable", "precondition", "destroyed"}

// judgeStrays finds processes that are neither the host nor of a running instance.
func (a auditor) judgeStrays(f *facts, states map[string]reported) {
	for _, p := range f.processes {
		switch {
		case p.pid == f.host:
		case p.state == 'Z':
			f.wrong("process %d (%s), child of %d, is not reaped", p.pid, p.name, p.parent)
		case p.leaf == "" || !states[p.leaf].hasProcess():
			f.wrong("process %d (%s) in cgroup %s belongs to no instance", p.pid, p.name, strings.TrimSpace(p.cgroup))
		}
	}
}

// judgeCgroups finds cgroups that belong to neither the host nor a running instance.
func (a auditor) judgeCgroups(f *facts, states map[string]reported) {
	for _, path := range f.report.Cgroups {
		name := filepath.Base(path)
		switch {
		case name == a.cgroupName() && f.host != 0:
		case name != a.cgroupName() && states[name].hasProcess():
		default:
			f.wrong("the cgroup %s is left", path)
		}
	}
}

// judgeDescriptors finds descriptors that the host or a plugin should have closed.
func (a auditor) judgeDescriptors(f *facts) {
	for _, p := range f.processes {
		for _, d := range procfs.Descriptors(p.pid) {
			below := strings.HasPrefix(d.Target, a.root+"/") || strings.HasPrefix(d.Target, a.images+"/")
			switch {
			case below && strings.HasSuffix(d.Target, " (deleted)"):
				f.wrong("process %d (%s) has %s open", p.pid, p.name, d.Target)
			case p.pid != f.host && (strings.HasPrefix(d.Target, a.images) || strings.HasPrefix(d.Target, a.root+"/bin/")):
				f.wrong("process %d (%s) has %s of the host open", p.pid, p.name, d.Target)
			case d.Target == "anon_inode:[pidfd]" && isDeadPidfd(d):
				f.wrong("process %d (%s) has a descriptor of a process that is gone", p.pid, p.name)
			}
		}
	}
}

// isDeadPidfd reports whether the descriptor is a pidfd of a process that has ended.
func isDeadPidfd(d procfs.Descriptor) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", d.PID, d.FD))
	return strings.Contains(string(text), "Pid:\t-1\n")
}

// judgeSockets looks at the sockets with a name below the run directory.
func (a auditor) judgeSockets(f *facts, states map[string]reported) {
	text, _ := os.ReadFile("/proc/net/unix")
	listening := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 8 || !strings.HasPrefix(fields[7], a.run+"/") {
			continue
		}
		path, _ := filepath.Rel(a.run, fields[7])
		owner, _, inside := strings.Cut(path, "/")
		if f.host == 0 || inside && !states[owner].hasProcess() {
			f.wrong("a socket %s is in use", fields[7])
		}
		listening[owner] = true
	}
	for callsign, r := range states {
		if r.hasProcess() && !listening[callsign] {
			f.wrong("%s is %s and has no socket", callsign, r.State)
		}
	}
}

// judgeTraces finds names that CRIU has made in the directories of the plugins, and the links
// of images that there are no longer.
func (a auditor) judgeTraces(f *facts, states map[string]reported) {
	_ = filepath.WalkDir(a.run, func(path string, _ os.DirEntry, err error) error {
		name := filepath.Base(path)
		isCRIUs := strings.HasPrefix(name, "link_remap.") || strings.HasSuffix(name, ".cr_link") ||
			strings.HasSuffix(name, ".ghost") || strings.HasSuffix(name, ".criu-sk-ghost")
		below, _ := filepath.Rel(a.run, path)
		callsign, _, _ := strings.Cut(below, string(filepath.Separator))
		isUnused := strings.HasPrefix(name, ".dormouse-") && strings.Contains(name, "-link_remap.") && !states[callsign].hasImage()
		if err == nil && (isCRIUs || isUnused) {
			f.wrong("%s is left", path)
		}
		return nil
	})
}

// judgeFiles finds files and directories that should have been removed.
func (a auditor) judgeFiles(f *facts, states map[string]reported) {
	for _, pattern := range []string{
		filepath.Join(a.images, "*", "draft-*"), filepath.Join(a.images, "*", "trash-*"),
		filepath.Join(a.root, "bin", "criu-*"), filepath.Join(a.root, "bin", "canary-*"),
		filepath.Join(a.root, "bin", "outside-*"),
		filepath.Join(a.run, "*", "proc.crtools"), filepath.Join(a.run, "*", "volatile", "proc.crtools"),
	} {
		left, _ := filepath.Glob(pattern)
		for _, path := range left {
			f.wrong("%s is left", path)
		}
	}
	a.judgeTraces(f, states)
	entries, _ := os.ReadDir(a.run)
	for _, entry := range entries {
		r := states[entry.Name()]
		if entry.IsDir() && !r.hasProcess() && !r.hasImage() {
			f.wrong("the run directory of %s is left", entry.Name())
		}
		if !entry.IsDir() && f.host == 0 {
			f.wrong("%s is left", filepath.Join(a.run, entry.Name()))
		}
	}
	if _, err := os.Stat(filepath.Join(a.root, "address")); err == nil && f.host == 0 {
		f.wrong("the address is left")
	}
}
