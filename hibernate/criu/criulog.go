package criu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// logName is CRIU's log file in the directory of a session.
const logName = "criu.log"

// errorPrefix matches the text before an error in CRIU's log: sometimes the time,
// sometimes the PID, and the line of CRIU's source.
var errorPrefix = regexp.MustCompile(`^(\([0-9.]+\)\s+)?(\s*\d+:\s*)?Error \([^)]*\):\s*`)

// relativePath matches the beginning of a message about a file, up to its path, if that lacks
// its first slash: CRIU gives paths as relative to the root.
var relativePath = regexp.MustCompile(`^Can't open file ([^/])`)

// harmlessError is the text of an error in CRIU's log after which CRIU goes on.
const harmlessError = "Can't setup RLIMIT_NOFILE for self"

// maxQuoted is how many errors of the log an error quotes. The first is nearest to the
// cause; CRIU then logs another one in each calling function.
const maxQuoted = 2

// errorFromLogOr returns an error with the first errors of CRIU's log in the directory, or
// the fallback if there is no log or no error in it. CRIU's answer itself never says what
// went wrong.
func errorFromLogOr(dir string, fallback error) error {
	text, rerr := os.ReadFile(filepath.Join(dir, logName))
	if rerr != nil {
		return fallback
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		at := errorPrefix.FindString(line)
		if at == "" || strings.Contains(line, harmlessError) {
			continue
		}
		found = append(found, relativePath.ReplaceAllString(line[len(at):], "Can't open file /$1"))
		if len(found) == maxQuoted {
			break
		}
	}
	if len(found) == 0 {
		return fallback
	}
	return fmt.Errorf("CRIU says: %w", errors.New(strings.Join(found, "; ")))
}
