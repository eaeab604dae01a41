// Package procfs reads what Linux says of processes; see proc(5).
package procfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Children returns the children of every thread of pid, none when pid is gone.
func Children(pid int) []int {
	var children []int
	for _, thread := range threads(pid) {
		text, err := os.ReadFile(thread + "/children")
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				children = append(children, child)
			}
		}
	}
	return children
}

// threads returns the directory of each thread of pid, none when pid is gone.
func threads(pid int) []string {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(0) // as many as there are
	for i, name := range names {
		names[i] = dir + "/" + name
	}
	return names
}

// Threads returns the numbers of the threads of pid that have not ended, none when
// pid is gone.
func Threads(pid int) []int {
	var all []int
	for _, thread := range threads(pid) {
		tid, err := strconv.Atoi(thread[strings.LastIndexByte(thread, '/')+1:])
		if err == nil && !Zombie(tid) {
			all = append(all, tid)
		}
	}
	return all
}

// Tree returns root and all its descendants, parents first.
func Tree(root int) []int {
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, Children(tree[i])...)
	}
	return tree
}

// Stopped tells whether the process is in job control stop.
func Stopped(pid int) bool {
	return state(pid) == 'T'
}

// Zombie tells whether the process has ended and waits to be reaped, or is gone.
func Zombie(pid int) bool {
	s := state(pid)
	return s == 'Z' || s == 0
}

// Uninterruptible tells whether a thread of the process waits for what no signal
// ends, such as a child that it made by vfork.
func Uninterruptible(pid int) bool {
	return slices.ContainsFunc(Threads(pid), func(tid int) bool { return state(tid) == 'D' })
}

func state(pid int) byte {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The command in parentheses may itself hold parentheses and spaces.
	end := bytes.LastIndexByte(text, ')')
	if end < 0 || len(text) < end+3 {
		return 0
	}
	return text[end+2]
}

// NSPid returns the number of the process in its own PID namespace, 0 when it is
// gone.
func NSPid(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	task, _, err := parseTask(string(text))
	if err != nil {
		return 0
	}
	return task.ID
}

// Continue sends SIGCONT to each process.
func Continue(pids []int) {
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGCONT) // one that is gone needs none
	}
}

// PSS returns the proportional set size of the processes together, in bytes.
// A process that has ended or may not be read counts nothing.
func PSS(pids []int) int64 {
	return sum(pids, "smaps_rollup", "Pss:")
}

// Unbacked is the memory of the processes, swapped out or not, that no file has
// the contents of.
func Unbacked(pids []int) (total int64) {
	for _, key := range []string{"Anonymous:", "Pss_Shmem:", "Swap:"} {
		total += sum(pids, "smaps_rollup", key)
	}
	return total
}

// RSS returns the resident set size of the processes together, in bytes; it is
// cheaper than PSS and counts shared pages more than once.
func RSS(pids []int) int64 {
	return sum(pids, "status", "VmRSS:")
}

// Anonymous returns how much memory of the processes is resident that no file
// holds, in bytes, and Swapped how much of it is in the swap.
func Anonymous(pids []int) int64 { return sum(pids, "smaps_rollup", "Anonymous:") }

// Swapped is described at Anonymous.
func Swapped(pids []int) int64 { return sum(pids, "smaps_rollup", "Swap:") }

func sum(pids []int, file, key string) int64 {
	var total int64
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			continue
		}
		total += kib(string(text), key)
	}
	return total
}

// kib is the value of that key in bytes, which the text tells in KiB; 0 when it
// has none.
func kib(text, key string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// Usage is what some processes take together.
type Usage struct {
	// Processes is how many of them live.
	Processes int
	// Resident, Shared and Virtual are bytes: the proportional set size, the part
	// of it that is not anonymous, and the address space.
	Resident, Shared, Virtual int64
}

// Measure reads what the processes take; one that has ended counts nothing.
func Measure(pids []int) Usage {
	var u Usage
	page := int64(os.Getpagesize())
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue
		}
		var pages int64
		if _, err := fmt.Sscan(string(text), &pages); err != nil || pages == 0 { // a zombie has none
			continue
		}
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		u.Processes++
		u.Virtual += pages * page
		u.Resident += kib(string(rollup), "Pss:")
		u.Shared += kib(string(rollup), "Pss_File:") + kib(string(rollup), "Pss_Shmem:")
	}
	return u
}

// MappedFiles returns the regular files that the processes have mapped, sorted,
// each once. One that has ended has none.
func MappedFiles(pids []int) ([]string, error) {
	found := make(map[string]bool)
	for _, pid := range pids {
		f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			// address perms offset dev inode path
			fields := strings.Fields(lines.Text())
			if len(fields) >= 6 && fields[4] != "0" && strings.HasPrefix(fields[5], "/") {
				path := after(lines.Text(), 5)
				if !strings.HasSuffix(path, " (deleted)") && !strings.HasPrefix(path, "/memfd:") && !strings.HasPrefix(path, "/dev/") {
					found[path] = true
				}
			}
		}
		err = lines.Err()
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return nil, err
		}
	}
	paths := make([]string, 0, len(found))
	for path := range found {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths, nil
}

// Task is what a thread may do: its identity as /proc/<pid>/status shows it.
// Two tasks are alike when they are equal.
type Task struct {
	// ID is the thread's number in its own PID namespace.
	ID         int    `json:"id"`
	UID        string `json:"uid"`
	GID        string `json:"gid"`
	Groups     string `json:"groups"`
	CapInh     string `json:"capInh"`
	CapPrm     string `json:"capPrm"`
	CapEff     string `json:"capEff"`
	CapBnd     string `json:"capBnd"`
	CapAmb     string `json:"capAmb"`
	NoNewPrivs string `json:"noNewPrivs"`
	Seccomp    string `json:"seccomp"`
	// Filters is how many seccomp filters it has.
	Filters string `json:"filters"`
	// Limits are its process's resource limits, soft:hard each; only the first
	// thread of a process has them.
	Limits string `json:"limits,omitempty"`
}

// Tasks returns every thread of the processes that is no zombie, ordered by ID.
func Tasks(pids []int) ([]Task, error) {
	var tasks []Task
	for _, pid := range pids {
		for _, thread := range threads(pid) {
			path := thread + "/status"
			text, err := os.ReadFile(path)
			if err != nil {
				continue // the thread has ended
			}
			task, alive, err := parseTask(string(text))
			if err != nil {
				return nil, fmt.Errorf("cannot read %s: %w", path, err)
			}
			if thread[strings.LastIndexByte(thread, '/')+1:] == strconv.Itoa(pid) {
				task.Limits = limits(pid)
			}
			if alive {
				tasks = append(tasks, task)
			}
		}
	}
	slices.SortFunc(tasks, func(a, b Task) int { return a.ID - b.ID })
	return tasks, nil
}

func parseTask(status string) (t Task, alive bool, err error) {
	fields := map[string]*string{
		"Uid": &t.UID, "Gid": &t.GID, "Groups": &t.Groups,
		"CapInh": &t.CapInh, "CapPrm": &t.CapPrm, "CapEff": &t.CapEff, "CapBnd": &t.CapBnd, "CapAmb": &t.CapAmb,
		"NoNewPrivs": &t.NoNewPrivs, "Seccomp": &t.Seccomp, "Seccomp_filters": &t.Filters,
	}
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.Join(strings.Fields(value), " ")
		switch key {
		case "State":
			alive = !strings.HasPrefix(value, "Z") && !strings.HasPrefix(value, "X")
		case "NSpid":
			if t.ID, err = strconv.Atoi(value[strings.LastIndexByte(value, ' ')+1:]); err != nil {
				return t, false, err
			}
		default:
			if field := fields[key]; field != nil {
				*field = value
			}
		}
	}
	return t, alive, nil
}

// UnixPeers counts the connections, established or pending, of the listening
// unix socket that is bound to path.
func UnixPeers(path string) (int, error) {
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return 0, err
	}
	peers := 0
	for line := range strings.Lines(string(text)) {
		// Num RefCount Protocol Flags Type St Inode Path
		fields := strings.Fields(line)
		if len(fields) >= 8 && fields[5] != "01" && after(strings.TrimSuffix(line, "\n"), 7) == path {
			peers++
		}
	}
	return peers, nil
}

// after returns what follows the first n fields of the line: a path, which may
// hold spaces.
func after(line string, n int) string {
	for range n {
		_, line, _ = strings.Cut(strings.TrimLeft(line, " "), " ")
	}
	return strings.TrimLeft(line, " ")
}
