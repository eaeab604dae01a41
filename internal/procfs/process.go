package procfs

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is the namespace of that name that the process is in, such as
// "net:[4026531840]", empty when the kernel knows none.
func Namespace(pid int, name string) string {
	target, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
	return target
}

// Personality is the process's execution domain in hexadecimal, see
// personality(2), empty when it may not be read.
func Personality(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/personality", pid))
	return strings.TrimSpace(string(text))
}

// Traced tells whether a debugger is attached to the process.
func Traced(pid int) bool {
	tracer := status(pid, "TracerPid:")
	return tracer != "" && tracer != "0"
}

// ForeignUser tells whether the process has any user or group other than this one's.
func ForeignUser(pid int) bool {
	for key, own := range map[string]int{"Uid:": os.Getuid(), "Gid:": os.Getgid()} {
		for id := range strings.FieldsSeq(status(pid, key)) {
			if id != strconv.Itoa(own) {
				return true
			}
		}
	}
	return false
}

// Owner is the real user and group of a process.
type Owner struct{ UID, GID int }

// OwnerOf returns the process's, root's when it is gone.
func OwnerOf(pid int) (o Owner) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, _ = fmt.Sscan(field(string(text), "Uid:"), &o.UID)
	_, _ = fmt.Sscan(field(string(text), "Gid:"), &o.GID)
	return o
}

// Mounts returns the numbers of the mounts that the process sees.
func Mounts(pid int) map[uint64]bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	mounts := make(map[uint64]bool)
	for line := range strings.Lines(string(text)) {
		number, _, _ := strings.Cut(line, " ")
		if id, err := strconv.ParseUint(number, 10, 64); err == nil {
			mounts[id] = true
		}
	}
	return mounts
}

// Mapped returns what the process has mapped, each once: paths, and what the kernel
// calls things that have none.
func Mapped(pid int) []string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	var names []string
	last := ""
	for line := range strings.Lines(string(text)) {
		// address perms offset device inode name
		if name := strings.TrimRight(after(line, 5), "\n"); name != "" && name != last {
			names = append(names, name)
			last = name
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func status(pid int, key string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return field(string(text), key)
}

// field returns what follows key at the beginning of a line.
func field(text, key string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// Info is what /proc/<pid>/fdinfo says of the descriptor under key.
func (d Descriptor) Info(key string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", d.PID, d.FD))
	return field(string(text), key+":")
}

// Flags are those that the file was opened with.
func (d Descriptor) Flags() uint64 {
	flags, _ := strconv.ParseUint(d.Info("flags"), 8, 64)
	return flags
}

// Deleted returns what a file without a name takes on its disk; regular is false
// when it has a name or is no regular file.
func (d Descriptor) Deleted() (size int64, regular bool) {
	var st unix.Stat_t
	if err := unix.Stat(d.path(), &st); err != nil {
		return 0, false
	}
	return st.Blocks * 512, st.Nlink == 0 && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// limitNames begin the lines of /proc/<pid>/limits, in the order of their numbers.
var limitNames = []string{
	"Max cpu time", "Max file size", "Max data size", "Max stack size", "Max core file size", "Max resident set", "Max processes", "Max open files",
	"Max locked memory", "Max address space", "Max file locks", "Max pending signals", "Max msgqueue size", "Max nice priority", "Max realtime priority", "Max realtime timeout",
}

// limits returns soft:hard of every resource limit, by its number.
func limits(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return ""
	}
	all := make([]string, len(limitNames))
	for i, name := range limitNames {
		if values := strings.Fields(field(string(text), name)); len(values) >= 2 {
			all[i] = values[0] + ":" + values[1]
		}
	}
	return strings.Join(all, " ")
}

// Difference names what tells the tasks apart, nothing when they are alike.
func (t Task) Difference(o Task) string {
	if t.ID != o.ID {
		return fmt.Sprintf("ID is %d, not %d", o.ID, t.ID)
	}
	var all []string
	for _, f := range []struct{ name, was, is string }{
		{"UID", t.UID, o.UID},
		{"GID", t.GID, o.GID},
		{"Groups", t.Groups, o.Groups},
		{"CapInh", t.CapInh, o.CapInh},
		{"CapPrm", t.CapPrm, o.CapPrm},
		{"CapEff", t.CapEff, o.CapEff},
		{"CapBnd", t.CapBnd, o.CapBnd},
		{"CapAmb", t.CapAmb, o.CapAmb},
		{"NoNewPrivs", t.NoNewPrivs, o.NoNewPrivs},
		{"Seccomp", t.Seccomp, o.Seccomp},
		{"Filters", t.Filters, o.Filters},
		{"Limits", t.Limits, o.Limits},
	} {
		if f.was != f.is {
			all = append(all, fmt.Sprintf("%s is %q, not %q", f.name, f.is, f.was))
		}
	}
	return strings.Join(all, ", ")
}
