package criu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// logName is where CRIU logs, in the operation's working directory.
const logName = "criu.log"

// prefix is what CRIU puts before an error: at some levels the time, from some
// processes the PID, and the place in its source.
var prefix = regexp.MustCompile(`^(\([0-9.]+\)\s+)?(\s*\d+:\s*)?Error \([^)]*\):\s*`)

// harmless are errors that CRIU reports and lives with.
var harmless = []string{"Can't setup RLIMIT_NOFILE for self"}

// causes is how many lines of the log an error quotes: the first is nearest to
// the cause, CRIU then reports once more on each level.
const causes = 2

// quoteLog returns the first errors in CRIU's log in the directory, or err when there
// are none: CRIU's answer never says what went wrong.
func quoteLog(dir string, err error) error {
	text, rerr := os.ReadFile(filepath.Join(dir, logName))
	if rerr != nil {
		return err
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		at := prefix.FindString(line)
		if at == "" || isHarmless(line) {
			continue
		}
		found = append(found, line[len(at):])
		if len(found) == causes {
			break
		}
	}
	if len(found) == 0 {
		return err
	}
	return fmt.Errorf("CRIU says: %w", errors.New(strings.Join(found, "; ")))
}

func isHarmless(line string) bool {
	for _, h := range harmless {
		if strings.Contains(line, h) {
			return true
		}
	}
	return false
}
