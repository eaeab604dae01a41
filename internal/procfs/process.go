package procfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Started is when the process began, in clock ticks since the boot. Together with
// the boot it tells a process from any other that had or will have its PID. It is
// 0 when the process is gone.
func StartTicks(pid int) uint64 { return statField(pid, 22) }

// Parent is the parent's PID, 0 when the process is gone.
func Parent(pid int) int { return int(statField(pid, 4)) }

// NSPid returns the number of the process in its own PID namespace, 0 when it is
// gone.
func NSPid(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	task, _, err := parseThreadStatus(string(text))
	if err != nil {
		return 0
	}
	return task.ID
}

// Command is the name of the process's program, cut to 15 bytes by the kernel.
func Command(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSuffix(string(name), "\n")
}

// Executing names the file that the process executes by device and inode, which
// tell it even when it was replaced; empty when the process is gone.
func ExecutableID(pid int) string {
	info, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// BootID is another one after each boot.
func BootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// Personality is the process's execution domain in hexadecimal, see
// personality(2), empty when it may not be read.
func Personality(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/personality", pid))
	return strings.TrimSpace(string(text))
}

// Traced tells whether a debugger is attached to the process.
func IsTraced(pid int) bool {
	tracer := statusField(pid, "TracerPid:")
	return tracer != "" && tracer != "0"
}

// ForeignUser tells whether the process has any user or group other than this one's.
func HasForeignUser(pid int) bool {
	for key, own := range map[string]int{"Uid:": os.Getuid(), "Gid:": os.Getgid()} {
		for id := range strings.FieldsSeq(statusField(pid, key)) {
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
	_, _ = fmt.Sscan(lineValue(string(text), "Uid:"), &o.UID)
	_, _ = fmt.Sscan(lineValue(string(text), "Gid:"), &o.GID)
	return o
}

// stat is a number of /proc/<pid>/stat, fields counted as in proc(5).
func statField(pid, field int) uint64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // the first is the third
	if len(fields) < field-2 {
		return 0
	}
	n, _ := strconv.ParseUint(fields[field-3], 10, 64)
	return n
}

func statusField(pid int, key string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return lineValue(string(text), key)
}

// field returns what follows key at the beginning of a line.
func lineValue(text, key string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
