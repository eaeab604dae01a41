package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dormouse/internal/procfs"
)

// auditor holds the directories of the root that it looks at.
type auditor struct{ root, run, images string }

// facts are the host, the processes and the report of one moment.
type facts struct {
	host      int // its PID, 0 without a host
	reported  []reported
	processes []process
	report    *Report
}

// process is a process that the root's host or one of its plugins made.
type process struct {
	pid, parent  int
	name         string
	state        byte
	cgroup, leaf string // leaf is the instance's name, if it is in one's cgroup
}

// reported is the status of an instance, as the host reports it.
type reported struct {
	Callsign, Locator, State string
	PID                      int
	Image                    *struct{ Engine string }
}

// wrong adds a sentence to the report.
func (f *facts) wrong(format string, args ...any) {
	f.report.Wrong = append(f.report.Wrong, fmt.Sprintf(format, args...))
}

// look collects the facts once, and returns the report on them.
func (a auditor) look() Report {
	f := &facts{report: &Report{Wrong: []string{}, Instances: []Instance{}}, host: a.findHost()}
	if f.host != 0 {
		f.report.Host = describeHost(f.host)
		a.askHost(f)
	}
	f.processes = a.findProcesses(f.host)
	for _, p := range f.processes {
		f.report.PIDs = append(f.report.PIDs, p.pid)
	}
	f.report.Cgroups = a.findCgroups()
	a.judgeAll(f)
	return *f.report
}

// findHost returns the process that has the lock of the root open.
func (a auditor) findHost() int {
	text, err := os.ReadFile(filepath.Join(a.root, "lock"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	for _, d := range procfs.Descriptors(pid) {
		if d.Target == filepath.Join(a.root, "lock") {
			return pid
		}
	}
	return 0
}

// describeHost counts the host's descriptors, children and memory.
func describeHost(pid int) *Host {
	h := &Host{PID: pid, Kinds: map[string]int{}, Children: len(procfs.Children(pid)), RSS: procfs.RSS([]int{pid})}
	for _, d := range procfs.Descriptors(pid) {
		kind, _, _ := strings.Cut(d.Target, ":[")
		if strings.HasPrefix(kind, "/") {
			kind = "file"
		}
		h.Kinds[kind]++
		h.Descriptors++
	}
	return h
}

// askHost fills in the instances as the host reports them.
func (a auditor) askHost(f *facts) {
	address, err := os.ReadFile(filepath.Join(a.root, "address"))
	if err != nil {
		f.wrong("the host has no address: %v", err)
		return
	}
	url := "http://" + strings.TrimSpace(string(address))
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	body := strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"Controller.status"}`)
	response, err := client.Post(url+"/jsonrpc?dialect=r4", "application/json", body)
	if err != nil {
		f.wrong("the host does not answer: %v", err)
		return
	}
	defer response.Body.Close()
	var answer struct{ Result []reported }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		f.wrong("the host's answer can't be read: %v", err)
		return
	}
	f.reported = slices.DeleteFunc(answer.Result, func(r reported) bool { return r.Locator == "" }) // part of the host
	f.report.Host.Goroutines = countGoroutines(&client, url)
}

// countGoroutines returns the number of the host's goroutines, 0 if it can't be had.
func countGoroutines(client *http.Client, url string) int {
	response, err := client.Get(url + "/metrics")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	var text bytes.Buffer
	_, _ = text.ReadFrom(response.Body)
	_, rest, _ := strings.Cut(text.String(), "\ngo_goroutines ")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.Atoi(line)
	return n
}

// findProcesses returns the processes that have anything of the root in their command
// line, working directory or cgroup, and the host's children.
func (a auditor) findProcesses(host int) []process {
	var own []int // this process and its ancestors
	for pid := os.Getpid(); pid > 1; pid = procfs.Parent(pid) {
		own = append(own, pid)
	}
	var all []process
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil || slices.Contains(own, pid) {
			continue
		}
		begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
		p := process{pid: pid, parent: procfs.Parent(pid), name: string(stat[begin+1 : end]), state: stat[end+2]}
		cgroups, _ := os.ReadFile(dir + "/cgroup")
		_, p.cgroup, _ = strings.Cut(string(cgroups), "0::")
		if _, leaf, ours := strings.Cut(strings.TrimSpace(p.cgroup), "/"+a.cgroupName()+"/"); ours {
			p.leaf = leaf
		}
		line, _ := os.ReadFile(dir + "/cmdline")
		cwd, _ := os.Readlink(dir + "/cwd")
		if pid == host || p.parent == host && host != 0 || p.leaf != "" ||
			bytes.Contains(line, []byte(a.root)) || strings.HasPrefix(cwd, a.root) {
			all = append(all, p)
		}
	}
	return all
}

// cgroupName is the name of the cgroup that a host makes below its own.
func (a auditor) cgroupName() string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(a.run))
	return fmt.Sprintf("dormouse-%08x", h.Sum32())
}

// findCgroups returns the host's cgroup, wherever it is, and all below it.
func (a auditor) findCgroups() []string {
	var found []string
	for _, mount := range mounts() {
		if mount.kind != "cgroup2" {
			continue
		}
		_ = filepath.WalkDir(mount.at, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() && strings.Contains(path+"/", "/"+a.cgroupName()+"/") {
				found = append(found, path)
			}
			return nil // what can't be read is not ours
		})
	}
	return found
}

// mount is a mount point and the kind of its file system.
type mount struct{ at, kind string }

// mounts returns the mounts of this process's namespace.
func mounts() (all []mount) {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(before); len(fields) > 4 {
			kind, _, _ := strings.Cut(after, " ")
			all = append(all, mount{fields[4], kind})
		}
	}
	return all
}
