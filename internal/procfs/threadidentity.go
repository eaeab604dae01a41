package procfs

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// ThreadIdentity is the number of a thread, and its user, groups, capabilities, seccomp
// mode and resource limits, with values as in /proc/<pid>/status. Two threads have the
// same rights when all fields but ID are equal.
type ThreadIdentity struct {
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
	// Filters is the number of seccomp filters.
	Filters string `json:"filters"`
	// Limits are the resource limits of the process, "soft:hard" each. The field is set
	// only for the first thread of a process.
	Limits string `json:"limits,omitempty"`
}

// ThreadIdentities returns the identity of every living thread of the processes,
// ordered by ID. It leaves out threads that end meanwhile.
func ThreadIdentities(pids []int) ([]ThreadIdentity, error) {
	var all []ThreadIdentity
	for _, pid := range pids {
		for _, thread := range threadDirs(pid) {
			path := thread + "/status"
			text, err := os.ReadFile(path)
			if err != nil {
				continue // the thread has ended
			}
			t, alive, err := parseThreadStatus(string(text))
			if err != nil {
				return nil, fmt.Errorf("cannot read %s: %w", path, err)
			}
			if thread[strings.LastIndexByte(thread, '/')+1:] == strconv.Itoa(pid) {
				t.Limits = resourceLimits(pid)
			}
			if alive {
				all = append(all, t)
			}
		}
	}
	slices.SortFunc(all, func(a, b ThreadIdentity) int { return a.ID - b.ID })
	return all, nil
}

// parseThreadStatus returns the identity in the text of /proc/<pid>/status, and in alive
// whether the thread is neither a zombie nor dead.
func parseThreadStatus(status string) (t ThreadIdentity, alive bool, err error) {
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

// Difference returns a text that names each field of o that differs from t, with both
// values, "" when they are equal.
func (t ThreadIdentity) Difference(o ThreadIdentity) string {
	if t.ID != o.ID {
		return fmt.Sprintf("ID is %d, not %d", o.ID, t.ID)
	}
	var all []string
	other := reflect.ValueOf(o)
	for field, was := range reflect.ValueOf(t).Fields() {
		if is := other.FieldByIndex(field.Index); is.String() != was.String() {
			all = append(all, fmt.Sprintf("%s is %q, not %q", field.Name, is, was))
		}
	}
	return strings.Join(all, ", ")
}

// limitNames are the names of the resource limits in /proc/<pid>/limits, ordered by the
// numbers that setrlimit(2) has for them.
var limitNames = []string{
	"Max cpu time", "Max file size", "Max data size", "Max stack size", "Max core file size", "Max resident set", "Max processes", "Max open files",
	"Max locked memory", "Max address space", "Max file locks", "Max pending signals", "Max msgqueue size", "Max nice priority", "Max realtime priority", "Max realtime timeout",
}

// resourceLimits returns the soft and hard value of every resource limit in the order of
// limitNames, as "soft:hard soft:hard ...", "" when the process is gone.
func resourceLimits(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return ""
	}
	all := make([]string, len(limitNames))
	for i, name := range limitNames {
		if values := strings.Fields(findLineValue(string(text), name)); len(values) >= 2 {
			all[i] = values[0] + ":" + values[1]
		}
	}
	return strings.Join(all, " ")
}
