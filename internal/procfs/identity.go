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
func Started(pid int) uint64 { return stat(pid, 22) }

// Parent is the parent's PID, 0 when the process is gone.
func Parent(pid int) int { return int(stat(pid, 4)) }

// Name is what the process calls itself, or the name of the file that it executes;
// empty when the process is gone.
func Name(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSuffix(string(text), "\n")
}

// stat is a number of /proc/<pid>/stat, fields counted as in proc(5).
func stat(pid, field int) uint64 {
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

// BootID is another one after each boot.
func BootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// Executing names the file that the process executes by device and inode, which
// tell it even when it was replaced; empty when the process is gone.
func Executing(pid int) string {
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
