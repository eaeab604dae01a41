// Package procfs reads what Linux reports about processes, see proc(5). Only ContinueStopped,
// ApplyThreadTunings and ZeroMemory change a process. The package does not know what the
// processes are for.
package procfs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Children returns the PIDs of the child processes of the process pid, nil when the process
// is gone.
func Children(pid int) []int {
	var children []int
	for _, thread := range threadDirs(pid) {
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

// threadDirs returns the directory /proc/<pid>/task/<tid> of each thread of the process, nil
// when the process is gone.
func threadDirs(pid int) []string {
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

// ThreadIDs returns the TIDs of the threads of the process that have not ended, nil when
// the process is gone.
func ThreadIDs(pid int) []int {
	var all []int
	for _, thread := range threadDirs(pid) {
		tid, err := strconv.Atoi(thread[strings.LastIndexByte(thread, '/')+1:])
		if err == nil && !HasEnded(tid) {
			all = append(all, tid)
		}
	}
	return all
}

// Tree returns rootPID and the PIDs of all descendants of that process, parents first. It
// returns rootPID alone when the process is gone.
func Tree(rootPID int) []int {
	tree := []int{rootPID}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, Children(tree[i])...)
	}
	return tree
}
