package process

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	criupager "dormouse/hibernate/criu/pager"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/cgroup"
	"dormouse/internal/native"
	"dormouse/internal/procfs"
)

// What all tests share, made by TestMain.
var (
	bin    string // directory of the programs below
	pidone string
	engine *criu.Engine
)

// binVariable names that directory to a run of the tests within the tests,
// which makes none of its own.
const binVariable = "DORMOUSE_TEST_BIN"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == criupager.LoaderVerb {
		_ = criupager.RunLoader(hibernate.ReceiveMemory)
		return
	}
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if flag.Lookup("test.fuzz").Value.String() != "" || flag.Lookup("test.fuzzworker").Value.String() == "true" {
		return m.Run(), nil // the targets need nothing of all this
	}
	// What go test let slip through could not be checkpointed.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 1, err
	}
	// A place of our own tells our leaks from other people's files; it is
	// shallow, as paths of sockets must be.
	dir, err := os.MkdirTemp("", "dm")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // one test looks in as nobody
		return 1, err
	}
	tmp := filepath.Join(dir, "t")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return 1, err
	}
	if err := os.Setenv("TMPDIR", tmp); err != nil {
		return 1, err
	}
	if bin = os.Getenv(binVariable); bin == "" {
		bin = filepath.Join(dir, "bin")
		if err := build(bin); err != nil {
			return 1, err
		}
	}
	if pidone, err = native.InstallPidone(bin); err != nil {
		return 1, err
	}
	engine = criu.Open(os.Getenv("DORMOUSE_CRIU"), bin)
	before := findTestLeftovers()
	code = m.Run()
	if left := before.leaks(); code == 0 && left != "" {
		return 1, fmt.Errorf("the tests left behind:\n%s", left)
	}
	return code, nil
}

// build compiles without the race detector, whose memory would be dumped too.
func build(dir string) error {
	cmd := exec.Command("go", "build", "-o", dir+"/", "./testdata/rogue", "../../plugins/examples/counter")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the plugins: %w\n%s", err, out)
	}
	return nil
}

// needCRIU skips a test where processes can't be hibernated, or fails it where
// they must be.
func needCRIU(t *testing.T) {
	t.Helper()
	hibernatetest.RequireEngine(t, engine)
}

// needCgroups does so where there are no cgroups.
func needCgroups(r *rig) {
	r.t.Helper()
	if r.host.Cgroups == nil {
		hibernatetest.SkipOrFail(r.t, errors.New("there are no cgroups to be had"))
	}
}

// testLeftovers is what a test could leave behind.
type testLeftovers struct {
	goroutines int
	fds        int
	children   []int
	files      []string // in TMPDIR, where also run directories and sockets are
	cgroups    []string
}

func findTestLeftovers() testLeftovers {
	files, _ := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	files = slices.DeleteFunc(files, func(path string) bool { return strings.HasPrefix(filepath.Base(path), "Test") }) // t.TempDir's
	return testLeftovers{
		goroutines: runtime.NumGoroutine(),
		fds:        len(descriptors("self")),
		children:   procfs.Children(os.Getpid()),
		files:      files,
		cgroups:    cgroupsHere(),
	}
}

// descriptors are the targets of the process's open files.
func descriptors(pid string) []string {
	links, _ := filepath.Glob("/proc/" + pid + "/fd/*")
	var targets []string
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil { // what Glob itself had open is gone
			targets = append(targets, target)
		}
	}
	return targets
}

// cgroupsHere are the cgroups of this process's hosts.
func cgroupsHere() []string {
	own, err := cgroup.Own()
	if err != nil {
		return nil
	}
	found, _ := filepath.Glob(filepath.Join(string(own), "dormouse-*"))
	return slices.DeleteFunc(found, func(path string) bool { return !ours[filepath.Base(path)] })
}

// ours are the names of the cgroups that the tests made.
var ours = make(map[string]bool)

// leaks waits for all to be as before and says what is not.
func (before testLeftovers) leaks() string {
	late := time.After(5 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		now := findTestLeftovers()
		var left []string
		for _, pid := range now.children {
			if !slices.Contains(before.children, pid) {
				line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				left = append(left, "process "+string(line))
			}
		}
		for _, path := range slices.Concat(now.files, now.cgroups) {
			if !slices.Contains(before.files, path) && !slices.Contains(before.cgroups, path) {
				left = append(left, path)
			}
		}
		if now.fds > before.fds {
			left = append(left, fmt.Sprintf("%d descriptors instead of %d: %v", now.fds, before.fds, descriptors("self")))
		}
		if now.goroutines > before.goroutines {
			stacks := make([]byte, 1<<20)
			left = append(left, fmt.Sprintf("%d goroutines instead of %d:\n%s", now.goroutines, before.goroutines, stacks[:runtime.Stack(stacks, true)]))
		}
		if len(left) == 0 {
			return ""
		}
		select {
		case <-tick.C:
		case <-late:
			return strings.Join(left, "\n")
		}
	}
}
