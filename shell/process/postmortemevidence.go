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

	"dormouse/internal/filenames"
	"dormouse/shell"
)

// Evidence holds at most maxFileBytes of one file, and the states of at most maxThreads
// threads.
const (
	maxFileBytes = 64 << 10
	maxThreads   = 256
)

// Evidence collects the plugin's last lines, and files in its cgroup; also how it exited
// and its core file if it has ended, else files in /proc. See shell.Process.
func (b *Backend) Evidence() shell.Evidence {
	t := b.currentLife().tree
	if t == nil {
		return shell.Evidence{Log: b.tail.Lines()}
	}
	e := shell.Evidence{PID: t.programPID, Begun: t.begun, Files: make(map[string]string)}
	if t.hasEnded() {
		exit := t.waitExitError() // waitExitError reads the rest of the output
		if how, ok := errors.AsType[*shell.ExitError](exit); ok {
			e.Exit = how.Describe()
		}
		e.Core = b.findCoreFile(t)
	} else if pid := t.findProgramPID(); pid != 0 {
		proc := filepath.Join("/proc", strconv.Itoa(pid))
		readBeginnings(e.Files, proc, "status", "smaps_rollup", "limits", "cgroup", "io")
		e.Files["tasks"] = threadStatesText(proc)
	}
	if t.group != nil {
		readBeginnings(e.Files, string(t.group.Dir), "memory.current", "memory.peak", "memory.max", "memory.events", "pids.current", "pids.max", "cpu.stat")
	}
	e.Log = b.tail.Lines()
	return e
}

// LogLines returns the last lines that the plugin has written since then. See shell.Process.
func (b *Backend) LogLines(since time.Time) []string {
	if t := b.currentLife().tree; t != nil && t.hasEnded() {
		_ = t.waitExitError() // it reads the rest of the output
	}
	return b.tail.LinesSince(since)
}

// readBeginnings adds to contents, by name, the beginning of each named file in dir that
// can be read and is not empty.
func readBeginnings(contents map[string]string, dir string, names ...string) {
	for _, name := range names {
		if text, err := readBeginning(filepath.Join(dir, name)); err == nil && text != "" {
			contents[name] = text
		}
	}
}

// readBeginning returns the first maxFileBytes of the file.
func readBeginning(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
	return string(text), err
}

// threadStatesText returns a text that says for each thread of a process where in the kernel
// the thread waits. procDir is the process's directory in /proc.
func threadStatesText(procDir string) string {
	found := filenames.NumbersIn(filepath.Join(procDir, "task"))
	var b strings.Builder
	for i, tid := range found {
		if i == maxThreads {
			fmt.Fprintf(&b, "and %d more\n", len(found)-i)
			break
		}
		dir, files := filepath.Join(procDir, "task", strconv.Itoa(tid)), make(map[string]string)
		readBeginnings(files, dir, "comm", "wchan", "syscall", "stack")
		fmt.Fprintf(&b, "%d %s wchan %s syscall %s\n%s", tid,
			strings.TrimSpace(files["comm"]), strings.TrimSpace(files["wchan"]), strings.TrimSpace(files["syscall"]), files["stack"])
	}
	return b.String()
}

// findCoreFile returns the path of the newest file that the kernel's core_pattern can name
// and that was written since the tree began, "" if there is none.
func (b *Backend) findCoreFile(t *tree) string {
	pattern, err := readBeginning("/proc/sys/kernel/core_pattern")
	if err != nil {
		return ""
	}
	path := coreFileGlob(strings.TrimSpace(pattern), filepath.Base(b.config().Executable), t.programNSPid, t.programPID)
	if path == "" {
		return ""
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(quoteForGlob(b.volatileDir()), path)
	}
	found, _ := filepath.Glob(path) //nolint:forbidigo // all but the unknown parts is quoted
	newest, at := "", t.begun.Add(-time.Second)
	for _, file := range found {
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.ModTime().After(at) {
			newest, at = file, info.ModTime()
		}
	}
	return newest
}

// coreFileGlob returns a glob pattern for the core file that core_pattern names, see
// core(5), with a star for each part of the name that is not known afterwards. It
// returns "" if cores are piped to a program. programNSPid is the PID of the program in
// the tree's namespace.
func coreFileGlob(pattern, programName string, programNSPid, programPID int) string {
	if pattern == "" || strings.HasPrefix(pattern, "|") || strings.HasPrefix(pattern, "@") {
		return ""
	}
	const commLength = 15
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' || i+1 == len(pattern) {
			b.WriteString(quoteForGlob(pattern[i : i+1]))
			continue
		}
		i++
		switch pattern[i] {
		case '%':
			b.WriteByte('%')
		case 'p':
			b.WriteString(strconv.Itoa(programNSPid))
		case 'P':
			b.WriteString(strconv.Itoa(programPID))
		case 'e':
			b.WriteString(quoteForGlob(programName[:min(len(programName), commLength)]))
		default:
			b.WriteByte('*')
		}
	}
	if !strings.Contains(pattern, "%p") {
		b.WriteByte('*') // core_uses_pid adds one
	}
	return b.String()
}

// globQuoter puts a backslash before each character that has a meaning in a glob pattern.
var globQuoter = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`)

// quoteForGlob returns a glob pattern that matches the text alone.
func quoteForGlob(text string) string { return globQuoter.Replace(text) }
