package procfs

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/regularfile"
)

// scriptSuffixes are the ends of the names of scripts. A script without a "#!" line is known
// by them.
var scriptSuffixes = []string{".py", ".pyz", ".sh", ".pl", ".rb", ".js", ".mjs", ".cjs", ".lua", ".php", ".tcl", ".jar"}

// ScriptOf returns the path of the script that the process interprets, "" if it runs none: the
// first argument that is a file which names the process's executable in its "#!" line, or has
// the name of a script.
func ScriptOf(pid int) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	_, rest, _ := bytes.Cut(line, []byte{0}) // the first is the name of the interpreter
	for arg := range strings.SplitSeq(string(rest), "\x00") {
		if arg == "" || strings.HasPrefix(arg, "-") {
			continue
		}
		path := arg
		if !filepath.IsAbs(path) {
			dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
			if err != nil {
				return ""
			}
			path = filepath.Join(dir, arg)
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if slices.Contains(scriptSuffixes, filepath.Ext(path)) || interpreterIs(path, pid) {
			return path
		}
		return ""
	}
	return ""
}

// interpreterIs reports whether the process executes the interpreter that the file names in
// its "#!" line, directly or by env(1).
func interpreterIs(path string, pid int) bool {
	f, err := regularfile.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadSlice('\n') // the kernel reads no more of it
	text, isScript := strings.CutPrefix(string(line), "#!")
	words := strings.Fields(text)
	if !isScript || len(words) == 0 {
		return false
	}
	name := words[0]
	if filepath.Base(name) == "env" {
		names := slices.DeleteFunc(words[1:], func(word string) bool { return strings.HasPrefix(word, "-") || strings.Contains(word, "=") })
		if len(names) == 0 {
			return false
		}
		if name, err = exec.LookPath(names[0]); err != nil {
			return false
		}
	}
	var named, executed unix.Stat_t
	return unix.Stat(name, &named) == nil && unix.Stat(fmt.Sprintf("/proc/%d/exe", pid), &executed) == nil &&
		named.Dev == executed.Dev && named.Ino == executed.Ino
}
