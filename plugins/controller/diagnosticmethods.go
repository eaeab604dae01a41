package controller

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"strconv"
	"strings"

	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// diagnosticMethods returns the methods threads, pendingrequests, processinfo and
// callstack. Where Thunder lists its threads, the host lists the lanes of its
// instances.
func diagnosticMethods() []method {
	return []method{
		{
			name: "threads", access: access.Read, form: property,
			result: []threadRecord{}, returns: "the lane of each instance, sorted by callsign: the operation that runs, and how many ran before",
			doc:   "The operations of the instances.",
			serve: serveThreads,
		},
		{
			name: "pendingrequests", access: access.Read, form: property,
			result: []string{}, returns: "the operations that wait for their turn and the calls that wait for an instance to wake",
			doc:   "The operations and calls that wait.",
			serve: servePendingRequests,
		},
		{
			name: "processinfo", access: access.Read, form: property,
			result: hostWorkRecord{}, returns: "threads and pendingrequests, and how many lanes run an operation",
			doc:   "What the host is doing.",
			serve: serveProcessInfo,
		},
		{
			name: "callstack", access: access.Read, form: property, index: "the position of a lane among the threads",
			result: []frameRecord{}, returns: "the frames of all goroutines that work for the instance, innermost first",
			doc:    "The stack of an instance's operation.",
			errors: []thunder.ErrorNumber{thunder.BadRequest, thunder.UnknownKey},
			serve:  serveCallStack,
		},
	}
}

// threadRecord is the lane of one instance. Thunder's clients read it as a thread.
type threadRecord struct {
	ID   string      `json:"id"`
	Job  shell.Event `json:"job"`
	Runs int64       `json:"runs"`
	// Callsign is not Thunder's.
	Callsign string `json:"callsign"`
}

// hostWorkRecord lists the lanes of all instances, and the operations and calls that
// wait. Occupation is how many lanes run an operation.
type hostWorkRecord struct {
	Threads    []threadRecord `json:"threads"`
	Pending    []string       `json:"pending"`
	Occupation int            `json:"occupation"`
}

// frameRecord is one frame of a goroutine's stack.
type frameRecord struct {
	Address  string `json:"address"`
	Module   string `json:"module"`
	Function string `json:"function,omitempty"`
	Line     int    `json:"line,omitempty"`
}

// serveThreads answers with the lane of each instance.
func serveThreads(_ context.Context, r request) (any, error) {
	return r.front.collectHostWork().Threads, nil
}

// servePendingRequests answers with the operations that wait for their turn and the
// calls that are held, as callsign.operation and callsign.call.
func servePendingRequests(_ context.Context, r request) (any, error) {
	return r.front.collectHostWork().Pending, nil
}

// serveProcessInfo answers with the lanes, and the operations and calls that wait.
func serveProcessInfo(_ context.Context, r request) (any, error) {
	return r.front.collectHostWork(), nil
}

// collectHostWork returns the lanes of all instances, sorted by callsign, and the
// operations and calls that wait.
func (f *Front) collectHostWork() hostWorkRecord {
	p := hostWorkRecord{Threads: []threadRecord{}, Pending: []string{}}
	for i, sh := range f.supervisor.Shells() {
		lane := sh.LaneStatus()
		p.Threads = append(p.Threads, threadRecord{fmt.Sprintf("0x%x", i), lane.Running, lane.Runs, sh.Callsign()})
		if lane.Running != "" {
			p.Occupation++
		}
		for _, event := range lane.Waiting {
			p.Pending = append(p.Pending, sh.Callsign()+"."+string(event))
		}
		for range lane.Held {
			p.Pending = append(p.Pending, sh.Callsign()+".call")
		}
	}
	return p
}

// serveCallStack answers with the stack of the instance whose lane has the position in
// the index.
func serveCallStack(_ context.Context, r request) (any, error) {
	n, err := strconv.Atoi(r.index)
	if err != nil || n < 0 {
		return nil, thunder.NewError(thunder.BadRequest, errors.New("name the lane, as in callstack@0"))
	}
	shells := r.front.supervisor.Shells()
	if n >= len(shells) {
		return nil, thunder.NewError(thunder.UnknownKey, nil)
	}
	return goroutineFrames(shells[n].Callsign())
}

// goroutineFrames returns the stack frames of the goroutines that work for the
// instance, from the profile of all goroutines. There, a line of labels comes before
// the frames of its goroutines.
func goroutineFrames(callsign string) ([]frameRecord, error) {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return nil, err
	}
	label := fmt.Sprintf("%q:%q", shell.LaneLabel, callsign)
	frames, meant := []frameRecord{}, false
	lines := bufio.NewScanner(&profile)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "":
			meant = false
		case strings.HasPrefix(line, "# labels: "):
			meant = strings.Contains(line, label)
		case meant:
			if frame, ok := parseFrame(line); ok {
				frames = append(frames, frame)
			}
		}
	}
	return frames, lines.Err()
}

// parseFrame returns the frame in a line such as "#       0x48e5a1
// dormouse/shell.(*Shell).takeStep+0x1c1  /src/shell/step.go:48", and false for a line
// without a frame.
func parseFrame(line string) (_ frameRecord, ok bool) {
	parts := strings.Fields(strings.TrimPrefix(line, "#"))
	if len(parts) < 3 {
		return frameRecord{}, false
	}
	name, _, _ := strings.Cut(parts[1], "+0x")
	slash := strings.LastIndexByte(name, '/') + 1
	module, function, _ := strings.Cut(name[slash:], ".")
	number, _ := strconv.Atoi(parts[2][strings.LastIndexByte(parts[2], ':')+1:])
	return frameRecord{Address: parts[0], Module: name[:slash] + module, Function: function, Line: number}, true
}
