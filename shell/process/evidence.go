package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dormouse/shell"
)

// Bounds of what is collected.
const (
	maxEvidence = 64 << 10 // of one file
	maxTasks    = 256
)

// Evidence collects what /proc and the cgroup tell, see shell.Process.
func (b *Backend) Evidence() shell.Evidence {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if t == nil {
		return shell.Evidence{Log: b.tail.Lines()}
	}
	e := shell.Evidence{PID: t.pid, Begun: t.begun, Files: make(map[string]string)}
	if t.ended() {
		exit := t.exitError() // which reads the log to its end
		if how, ok := errors.AsType[*shell.ExitError](exit); ok {
			e.Exit = how.How()
		}
		e.Core = b.core(t)
	} else if pid := t.program(); pid != 0 {
		proc := filepath.Join("/proc", strconv.Itoa(pid))
		collect(e.Files, proc, "status", "smaps_rollup", "limits", "cgroup", "io")
		e.Files["tasks"] = tasks(proc)
	}
	if t.leaf != nil {
		collect(e.Files, string(t.leaf.Dir), "memory.current", "memory.peak", "memory.max", "memory.events", "pids.current", "pids.max", "cpu.stat")
	}
	e.Log = b.tail.Lines()
	return e
}

// collect adds those of the files in dir that can be read.
func collect(to map[string]string, dir string, names ...string) {
	for _, name := range names {
		if text, err := readSome(filepath.Join(dir, name)); err == nil && text != "" {
			to[name] = text
		}
	}
}

func readSome(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxEvidence))
	return string(text), err
}

// tasks says of each thread of a process where it is in the kernel.
func tasks(proc string) string {
	found, _ := filepath.Glob(filepath.Join(proc, "task", "*"))
	var b strings.Builder
	for i, dir := range found {
		if i == maxTasks {
			fmt.Fprintf(&b, "and %d more\n", len(found)-i)
			break
		}
		files := make(map[string]string)
		collect(files, dir, "comm", "wchan", "syscall", "stack")
		fmt.Fprintf(&b, "%s %s wchan %s syscall %s\n%s", filepath.Base(dir),
			strings.TrimSpace(files["comm"]), strings.TrimSpace(files["wchan"]), strings.TrimSpace(files["syscall"]), files["stack"])
	}
	return b.String()
}

// core returns the file that the kernel's pattern names, if there is one that
// this program can have left.
func (b *Backend) core(t *tree) string {
	pattern, err := readSome("/proc/sys/kernel/core_pattern")
	if err != nil {
		return ""
	}
	path := corePath(strings.TrimSpace(pattern), filepath.Base(b.config().Executable), t.number, t.pid)
	if path == "" {
		return ""
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(b.volatileDir(), path)
	}
	found, _ := filepath.Glob(path)
	newest, at := "", t.begun.Add(-time.Second)
	for _, file := range found {
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.ModTime().After(at) {
			newest, at = file, info.ModTime()
		}
	}
	return newest
}

// corePath is core_pattern, see core(5), with a star for all that can't be told
// afterwards; empty when cores go to a program. Number is the PID that the
// process had for itself.
func corePath(pattern, name string, number, pid int) string {
	if pattern == "" || strings.HasPrefix(pattern, "|") || strings.HasPrefix(pattern, "@") {
		return ""
	}
	const commLength = 15
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' || i+1 == len(pattern) {
			b.WriteByte(pattern[i])
			continue
		}
		i++
		switch pattern[i] {
		case '%':
			b.WriteByte('%')
		case 'p':
			b.WriteString(strconv.Itoa(number))
		case 'P':
			b.WriteString(strconv.Itoa(pid))
		case 'e':
			b.WriteString(name[:min(len(name), commLength)])
		default:
			b.WriteByte('*')
		}
	}
	if !strings.Contains(pattern, "%p") {
		b.WriteByte('*') // core_uses_pid adds one
	}
	return b.String()
}
