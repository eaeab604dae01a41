package criu

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
)

// ProgramFiles returns the paths of the files that CRIU runs from: its executable and the
// libraries that it names to the dynamic linker, see LD_TRACE_LOADED_OBJECTS in ld.so(8).
func (e *Engine) ProgramFiles(ctx context.Context) []string {
	if e.path == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	list := exec.CommandContext(ctx, e.path)
	list.Env = append(os.Environ(), "LD_TRACE_LOADED_OBJECTS=1")
	text, _ := list.Output() // a static CRIU has no libraries
	files := []string{e.path}
	for line := range bytes.Lines(text) {
		if _, place, found := strings.Cut(string(line), "=> "); found {
			path, _, _ := strings.Cut(place, " (")
			files = append(files, strings.TrimSpace(path))
		}
	}
	return files
}
