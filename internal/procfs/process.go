package procfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// StartTicks returns when the process began, in clock ticks since the boot, 0 when the
// process is gone. StartTicks and BootID together distinguish the process from any other
// process that gets the same PID.
func StartTicks(pid int) uint64 {
	ticks, _ := strconv.ParseUint(statField(pid, 22), 10, 64)
	return ticks
}

// Parent returns the PID of the parent process, 0 when the process is gone.
func Parent(pid int) int {
	parent, _ := strconv.Atoi(statField(pid, 4))
	return parent
}

// ExitSignal returns the signal that the parent gets when the process ends, usually SIGCHLD,
// 0 when the process is gone.
func ExitSignal(pid int) int {
	signal, _ := strconv.Atoi(statField(pid, 38))
	return signal
}

// NSPid returns the PID of the process, or the TID of the thread, in its own PID namespace,
// 0 when the process or thread is gone.
func NSPid(pid int) int {
	numbers := statusField(pid, "NSpid:") // one for each PID namespace, the own one last
	number, _ := strconv.Atoi(numbers[strings.LastIndexByte(numbers, '\t')+1:])
	return number
}

// ProcessName returns the name of the process, at most 15 bytes, "" when the process is
// gone. It is the file name of the program, unless the process has set another by prctl(2).
func ProcessName(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSuffix(string(name), "\n")
}

// ExecutableID returns "device:inode" of the file that the process executes, even if the
// file was replaced or deleted since. It returns "" when the process is gone.
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

// BootID returns an identifier of the current boot of the kernel. Each boot has another.
func BootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// Personality returns the execution domain of the process in hexadecimal, see
// personality(2). It returns "" when this process may not read the domain.
func Personality(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/personality", pid))
	return strings.TrimSpace(string(text))
}

// IsTraced reports whether a debugger or another tracer, see ptrace(2), is attached to the
// process.
func IsTraced(pid int) bool {
	tracer := statusField(pid, "TracerPid:")
	return tracer != "" && tracer != "0"
}

// HasOtherUserOrGroup reports whether any user or group ID of the process differs from the
// real user or group ID of this process. It returns false when the process is gone.
func HasOtherUserOrGroup(pid int) bool {
	for key, own := range map[string]int{"Uid:": os.Getuid(), "Gid:": os.Getgid()} {
		for id := range strings.FieldsSeq(statusField(pid, key)) {
			if id != strconv.Itoa(own) {
				return true
			}
		}
	}
	return false
}

// IsProcess reports whether the number is the PID of a process, and not of one of its other
// threads.
func IsProcess(pidOrTID int) bool { return statusField(pidOrTID, "Tgid:") == strconv.Itoa(pidOrTID) }

// Owner is the real user and group of a process.
type Owner struct{ UID, GID int }

// OwnerOrRoot returns the real user and group of the process, root when the process is
// gone.
func OwnerOrRoot(pid int) (o Owner) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, _ = fmt.Sscan(findLineValue(string(text), "Uid:"), &o.UID)
	_, _ = fmt.Sscan(findLineValue(string(text), "Gid:"), &o.GID)
	return o
}

// statField returns a field of /proc/<pid>/stat, counted from 1 as in proc(5), "" when
// the process is gone. The field must come after the name of the process.
func statField(pid, field int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	// The name, field 2 in parentheses, may itself hold parentheses and spaces.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < field-2 {
		return ""
	}
	return fields[field-3]
}

// statusField returns the value of the key, such as "NSpid:", in /proc/<pid>/status, "" when
// the process is gone or has no such key.
func statusField(pid int, key string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return findLineValue(string(text), key)
}

// findLineValue returns what follows the key on the first line that begins with the key,
// "" if no line does.
func findLineValue(text, key string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
