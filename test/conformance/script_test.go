package conformance

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// testCase is one case of a file in cases, which holds one directive a line:
//
//	case 24 one instance         the number in the reference, a name
//	differs 6                    deliberately, by that decision
//	call METHOD [PARAMS]         send a request and take its answer
//	send TEXT                    the same with a whole message
//	notify TEXT                  the same, but there is no answer on a websocket
//	start NAME METHOD [PARAMS]   send a request, and go on
//	finish NAME                  take its answer
//	pieces TEXT                  send a message in three frames and take its answer
//	ping                         have a ping answered
//	large N METHOD               send N bytes to a method that sends them back
//	pipeline N METHOD            send N requests at once and take all answers
//	= JSON                       the answer has that result
//	! CODE [TEXT]                the answer has that error
//	answer JSON                  the answer as a whole
//	silence                      there is no answer
//	event METHOD PARAMS          the next notification
//	events METHOD PARAMS         all notifications so far, at least one
//	quiet                        there is no further one
//	socket NAME                  go on with another websocket
//	open PATH                    open it at that path, with the HTTP status as its answer
//	thunder RELEASE NAME         go on with one that Thunder's C++ client opens
//	close                        close this one
//	with NAME VALUE              send that header with the HTTP requests of this case
//	get|put|post|… PATH [BODY]   an HTTP request
//	code N, body TEXT, header NAME TEXT   and its answer
//	wait CALLSIGN STATE          until status says so
//	kill CALLSIGN                end the plugin's process by signal 9
//	file PATH                    write an empty file below the root
//	damage CALLSIGN              spoil the image of what is hibernated
//	restart                      end the host by SIGTERM and start it again
//
// A line may begin with r4 or r5 and with ws or http, and then counts there
// only. In JSON, "*" stands for any value and "…" among the members of an object
// or at the end of an array for any more. A text may end in "*".
type testCase struct {
	file  string
	name  string
	lines []directive
}

type directive struct {
	line       int
	only       []string // dialect and transport that it is for
	verb, rest string
}

// applies reports whether the directive counts in a run. There are no events
// without a websocket.
func (d directive) applies(dialect, transport string) bool {
	if transport == "http" && slices.Contains([]string{"event", "events", "quiet", "socket", "open", "close", "pieces", "ping", "pipeline"}, d.verb) {
		return false
	}
	for _, only := range d.only {
		if only != dialect && only != transport {
			return false
		}
	}
	return true
}

// restricted are the words that a line may begin with.
var restricted = []string{"r4", "r5", "ws", "http"}

// readCases returns the cases of one file, in order.
func readCases(path string) ([]testCase, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var cases []testCase
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		d := directive{line: n}
		d.verb, d.rest = cut(text)
		for slices.Contains(restricted, d.verb) {
			d.only = append(d.only, d.verb)
			d.verb, d.rest = cut(d.rest)
		}
		switch {
		case d.verb == "case":
			number, name := cut(d.rest)
			cases = append(cases, testCase{file: filepath.Base(path), name: number + " " + name})
		case len(cases) == 0:
			return nil, fmt.Errorf("%s:%d: a directive before the first case", path, n)
		default:
			last := &cases[len(cases)-1]
			last.lines = append(last.lines, d)
		}
	}
	return cases, lines.Err()
}

// cut splits off the first word.
func cut(text string) (word, rest string) {
	word, rest, _ = strings.Cut(text, " ")
	return word, strings.TrimSpace(rest)
}
