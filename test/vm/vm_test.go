// Package vm runs a host in a small virtual machine, where memory can run out without harm.
package vm

import (
	"bufio"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dormouse/hibernate/criu"
	"dormouse/hibernate/hibernatetest"
)

// machineDir is where make setup-test puts the kernel and its modules.
const machineDir = "/usr/local/lib/dormouse/vm"

// report begins the line in which the guest says what happened.
const report = "guest: "

// TestMemoryRunsOut lets a program take the memory of a whole machine from idle plugins: they
// go to sleep in time, and the kernel kills nothing.
func TestMemoryRunsOut(t *testing.T) {
	emulate := os.Getenv("DORMOUSE_EMULATE") == "1"
	if !emulate && !hasVirtualMachines(t) {
		t.Skip("the processor has no virtual machines here; with DORMOUSE_EMULATE=1 one is emulated, which takes minutes")
	}
	for _, need := range []func() (string, error){
		func() (string, error) { return exec.LookPath("qemu-system-x86_64") },
		func() (string, error) { return exec.LookPath("cpio") },
		func() (string, error) { return machineDir, statError(machineDir + "/vmlinuz") },
		func() (string, error) { return "mkfs.ext4", statError("/sbin/mkfs.ext4") },
	} {
		if _, err := need(); err != nil {
			hibernatetest.SkipOrFail(t, fmt.Errorf("no virtual machine can be made, make setup-test installs what it needs: %w", err))
		}
	}
	dir := t.TempDir()
	programs := filepath.Join(dir, "programs")
	build(t, programs, "dormouse/cmd/dormouse", "dormouse/plugins/examples/counter", "dormouse/test/faults/hog", "dormouse/test/vm/guest")
	line := boot(t, emulate, makeRAMDisk(t, dir, programs), makeDisk(t, dir, programs))
	if want := "hog full 40, kills 0, kept 4 of 4"; line != want {
		t.Errorf("the guest says %q, want %q", line, want)
	}
}

// hasVirtualMachines reports whether the kernel and the processor can run one that knows
// nothing of that.
func hasVirtualMachines(t *testing.T) bool {
	t.Helper()
	info, err := os.ReadFile("/proc/cpuinfo")
	must(t, err)
	flags := strings.Fields(string(info))
	return statError("/dev/kvm") == nil && (slices.Contains(flags, "vmx") || slices.Contains(flags, "svm"))
}

func statError(path string) error {
	_, err := os.Stat(path)
	return err
}

// build compiles the packages into dir.
func build(t *testing.T, dir string, packages ...string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"build", "-o", dir + "/"}, packages...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	run(t, cmd)
}

// run runs the command, which must succeed.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
	}
}

// makeRAMDisk returns the path of an initial RAM disk with the guest and the modules.
func makeRAMDisk(t *testing.T, dir, programs string) (path string) {
	t.Helper()
	tree := filepath.Join(dir, "ram")
	for _, name := range []string{"dev", "disk"} {
		must(t, os.MkdirAll(filepath.Join(tree, name), 0o755))
	}
	must(t, os.CopyFS(filepath.Join(tree, "modules"), os.DirFS(machineDir+"/modules")))
	copyFile(t, filepath.Join(programs, "guest"), filepath.Join(tree, "init"))
	path = filepath.Join(dir, "initrd")
	pack := exec.Command("sh", "-c", "find . | cpio --quiet -o -H newc >"+path)
	pack.Dir = tree
	run(t, pack)
	return path
}

// makeDisk returns the path of a disk with the programs and CRIU.
func makeDisk(t *testing.T, dir, programs string) (path string) {
	t.Helper()
	tree := filepath.Join(dir, "disk")
	for _, name := range []string{"dev", "proc", "sys", "run", "tmp", "etc", "var/lib"} {
		must(t, os.MkdirAll(filepath.Join(tree, name), 0o755))
	}
	for _, name := range []string{"dormouse", "counter", "hog", "guest"} {
		copyFile(t, filepath.Join(programs, name), filepath.Join(tree, name))
	}
	engine := criu.Open("", t.TempDir())
	if err := engine.Check(t.Context()); err != nil {
		hibernatetest.SkipOrFail(t, err)
	}
	start := map[string]string{} // by what the file is for
	for _, file := range engine.ProgramFiles() {
		copyFile(t, file, filepath.Join(tree, file))
		linkByName(t, filepath.Join(tree, file))
		switch base := filepath.Base(file); {
		case strings.HasPrefix(base, "ld-linux"):
			start["loader"] = file
		case base == "libc.so.6":
			start["libraries"] = filepath.Dir(file)
		case base == "criu":
			start["criu"] = file
		}
	}
	text := strings.Join([]string{start["loader"], "--library-path", start["libraries"], start["criu"]}, "\n")
	must(t, os.WriteFile(filepath.Join(tree, "etc/criu"), []byte(text), 0o600))
	must(t, os.Symlink("guest", filepath.Join(tree, "criu")))
	path = filepath.Join(dir, "disk.img")
	run(t, exec.Command("/sbin/mkfs.ext4", "-q", "-d", tree, path, "512M"))
	return path
}

// linkByName gives a library the name under which programs look for it, too.
func linkByName(t *testing.T, path string) {
	t.Helper()
	library, err := elf.Open(path)
	must(t, err)
	defer library.Close()
	names, err := library.DynString(elf.DT_SONAME)
	must(t, err)
	for _, name := range names {
		link := filepath.Join(filepath.Dir(path), name)
		if _, err := os.Lstat(link); err != nil {
			must(t, os.Symlink(filepath.Base(path), link))
		}
	}
}

// copyFile copies an executable file, and what a link leads to.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	source, err := os.Open(from)
	must(t, err)
	defer source.Close()
	must(t, os.MkdirAll(filepath.Dir(to), 0o755))
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755) //nolint:gosec // it is executed
	must(t, err)
	_, err = io.Copy(target, source)
	must(t, err)
	must(t, target.Close())
}

// boot runs the machine and returns what its guest reports. In an emulated one, which is
// slow, memory is taken more slowly, too.
func boot(t *testing.T, emulate bool, ramDisk, disk string) (line string) {
	t.Helper()
	accelerator, processor, pause, limit := "kvm", "host", "20ms", time.Minute
	if emulate {
		accelerator, processor, pause, limit = "tcg", "max", "1500ms", 8*time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	machine := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", accelerator, "-cpu", processor, "-smp", "2", "-m", "320",
		"-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-net", "none",
		"-kernel", machineDir+"/vmlinuz", "-initrd", ramDisk, "-append", "console=ttyS0 quiet panic=-1 pause="+pause,
		"-drive", "file="+disk+",if=virtio,format=raw,cache=unsafe")
	console, err := machine.StdoutPipe()
	must(t, err)
	machine.Stderr = os.Stderr
	must(t, machine.Start())
	var text strings.Builder
	for lines := bufio.NewScanner(console); lines.Scan(); {
		fmt.Fprintln(&text, lines.Text())
		if said, found := strings.CutPrefix(strings.TrimSpace(lines.Text()), report); found {
			line = said
		}
	}
	if err := machine.Wait(); err != nil || line == "" {
		t.Fatalf("the machine ended with %v; its console:\n%s", err, text.String())
	}
	if t.Failed() || !strings.HasPrefix(line, "hog full") {
		t.Logf("the console:\n%s", text.String())
	}
	return line
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
