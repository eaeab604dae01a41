package pager

import (
	"encoding/json"
	"errors"
	"time"

	"dormouse/hibernate"
)

// A host and a loader, which may be of different versions of this program, send each
// other these messages as JSON. The names of the fields must not change.
type (
	// loadOrder is the first message to a loader. CRIU's socket precedes it.
	loadOrder struct {
		Programs        string          // the directory in which helper executables are installed
		Quiet, Patience time.Duration   // as in Timing
		Memory          json.RawMessage // as HandOver of hibernate.Memory returns it
		Pages           int             // how many page files the loader has
	}
	// command is any later message to a loader.
	command struct {
		// Confirm asks whether the memory that CRIU has read itself is as it was dumped.
		// After its answer the loader no longer needs the host. It loads memory into the
		// tree below Root, or ends if Root is 0.
		Confirm bool
		Root    int
		// Hurry makes the loader load the rest without waiting for a quiet moment.
		Hurry bool
	}
	// report is the message of a loader to all hosts, sent when its contents have
	// changed.
	report struct {
		Loaded, Total   int64 // bytes
		Read            int64 // bytes, as BytesRead of hibernate.Loading returns them
		Confirmed, Done bool
		Failure         string
		Refused         bool // the failure is a hibernate.ErrRefused
	}
)

// progressReport returns the report of how far a loading is.
func progressReport(l hibernate.Loading) report {
	loaded, total := l.Progress()
	return report{Loaded: loaded, Total: total, Read: l.BytesRead()}
}

// failureReport returns the report that the loading has failed with err.
func failureReport(err error) report {
	return report{Failure: err.Error(), Refused: errors.Is(err, hibernate.ErrRefused)}
}

// loaderError is a failure that a loader has reported.
type loaderError struct {
	text    string
	refused bool
}

// Error returns the text of the loader's error.
func (e *loaderError) Error() string { return e.text }

// Is reports whether the failure was a hibernate.ErrRefused in the loader.
func (e *loaderError) Is(target error) bool { return e.refused && target == hibernate.ErrRefused }
