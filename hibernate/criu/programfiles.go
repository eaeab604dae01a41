package criu

import "dormouse/internal/procfs"

// ProgramFiles returns the paths of the files that CRIU runs from, such as its executable and
// its libraries, nil before Check has tried CRIU.
func (e *Engine) ProgramFiles() []string {
	if files := e.programFiles.Load(); files != nil {
		return *files
	}
	return nil
}

// noteProgramFiles notes the files that the process runs from, a CRIU, unless they are known.
func (e *Engine) noteProgramFiles(pid int) {
	if e.programFiles.Load() != nil {
		return
	}
	if files, err := procfs.ExecutedFiles([]int{pid}); err == nil {
		e.programFiles.Store(&files)
	}
}
