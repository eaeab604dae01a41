package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// audit looks from outside, without the host's word, at what there is on behalf
// of a site: nothing but what an instance in that state has.
func audit(t *testing.T, s *site, h *host, state string) {
	t.Helper()
	active, asleep := state == "active", state == "hibernated"
	want := map[string]int{}
	if h != nil {
		want["dormouse"] = 1
	}
	if active {
		want["pidone"], want["counter"] = 1, 1
	}
	// What was killed may take a moment to go, and so does the host's trial.
	var wrong []string
	for late := time.Now().Add(patience); ; {
		if wrong = judge(processes(s, h), want); len(wrong) == 0 {
			break
		}
		if time.Now().After(late) {
			t.Errorf("want processes %v:\n%s", want, strings.Join(wrong, "\n"))
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	names := func(pattern string) []string {
		paths, _ := filepath.Glob(filepath.Join(s.root, pattern))
		for i, path := range paths {
			paths[i], _ = filepath.Rel(s.root, path)
		}
		slices.Sort(paths)
		return paths
	}
	var run, images []string
	if h != nil {
		run = append(run, "run/communicator")
	}
	if active || asleep {
		run = append(run, "run/Counter")
	}
	if asleep {
		images = []string{"images/Counter/image"}
	}
	slices.Sort(run)
	until(t, "the files to be in order", func() bool { // images are removed in the background
		left := slices.Concat(names("images/*/draft-*"), names("images/*/trash-*"), names("bin/criu-*"), names("bin/canary-*"))
		return len(left) == 0
	})
	if got := names("run/*"); !slices.Equal(got, run) {
		t.Errorf("the run directory has %q, want %q", got, run)
	}
	if got := names("images/*/image"); !slices.Equal(got, images) {
		t.Errorf("the images are %q, want %q", got, images)
	}
	if got := names("images/*/refused"); len(got) > 0 {
		t.Errorf("an image was refused: %q", got)
	}
	if h == nil {
		if got := names("address"); len(got) > 0 {
			t.Errorf("the address is left")
		}
	}
}

// judge says what is wrong with the processes, nothing when they are those wanted.
func judge(there []seen, want map[string]int) (wrong []string) {
	got := map[string]int{}
	for _, p := range there {
		got[p.name]++
		if !strings.Contains("SRD", p.state) || strings.Contains(p.cgroup, "dormouse-") != (p.name != "dormouse") {
			wrong = append(wrong, fmt.Sprintf("%d %s is in state %s and cgroup %s", p.pid, p.name, p.state, p.cgroup))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		wrong = append(wrong, fmt.Sprintf("there are %+v", there))
	}
	return wrong
}

// seen is a process that belongs to a site.
type seen struct {
	pid                 int
	name, state, cgroup string
}

// processes are those that have anything of the site in their command line,
// working directory, and zombies of the host's.
func processes(s *site, h *host) []seen {
	var all []seen
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		cwd, _ := os.Readlink(dir + "/cwd")
		cgroup := ""
		if text, err := os.ReadFile(dir + "/cgroup"); err == nil {
			_, cgroup, _ = strings.Cut(string(text), "0::")
		}
		begin, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
		p := seen{pid: pid, name: string(stat[begin+1 : end]), state: string(stat[end+2]), cgroup: strings.TrimSpace(cgroup)}
		zombie := h != nil && p.state == "Z" && strings.Fields(string(stat[end+1:]))[1] == strconv.Itoa(h.cmd.Process.Pid)
		if strings.Contains(string(cmdline), s.root) || strings.HasPrefix(cwd, s.root) || zombie {
			p.name, _, _ = strings.Cut(p.name, "-") // pid 1 is named by its digest
			all = append(all, p)
		}
	}
	return all
}
