package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// verdict is what becomes of a delivery after a try.
type verdict int

const (
	done      verdict = iota // the target has it, or does not want it
	again                    // it is tried again later
	givenUp                  // it is not tried any more, and kept for the operator
	gone                     // its whole line is dropped
	abandoned                // the try was stopped for another one's sake; it does not count
)

// answer is how a try has ended.
type answer struct {
	verdict verdict
	reason  string        // of a failure
	after   time.Duration // how long the target asks to wait, 0 if it does not
}

// failed reports whether the try is one of the failures of its host.
func (a answer) failed() bool { return a.verdict == again || a.verdict == givenUp }

// Waits after failures: the longest is drawn between half and all of firstWait after the first
// failure, doubled after each up to lastWait.
const (
	firstWait = 2 * time.Second
	lastWait  = time.Hour
	// giveUpAfter is how long a delivery is tried.
	giveUpAfter = 24 * time.Hour
)

// waitAfter returns how long a line waits after so many failures in a row.
func waitAfter(failures int) time.Duration {
	longest := firstWait
	for ; failures > 1 && longest < lastWait; failures-- {
		longest *= 2
	}
	longest = min(longest, lastWait)
	return longest/2 + rand.N(longest/2)
}

// wait returns how long the line waits after this failure, one of so many in a row: as long as
// the target asks, or else what waitAfter says.
func (a answer) wait(failures int) time.Duration {
	if a.after > 0 {
		return a.after + rand.N(time.Second)
	}
	return waitAfter(failures)
}

// answerOf returns what a response means.
func answerOf(response *http.Response, now time.Time) answer {
	code := response.StatusCode
	reason := fmt.Sprintf("answered %d %s", code, http.StatusText(code))
	switch {
	case code/100 == 2:
		return answer{verdict: done}
	case code == http.StatusGone:
		return answer{verdict: gone, reason: reason}
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code/100 == 5:
		return answer{again, reason, retryAfter(response.Header.Get("Retry-After"), now)}
	case code/100 == 4:
		return answer{verdict: done, reason: reason}
	}
	return answer{verdict: givenUp, reason: reason + ", which is not followed"}
}

// retryAfter returns how long a header Retry-After asks to wait, at least a second and at most
// giveUpAfter; 0 if it is not readable.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 32); err == nil {
		return withinWaits(time.Duration(seconds) * time.Second)
	}
	if at, err := http.ParseTime(header); err == nil {
		return withinWaits(at.Sub(now))
	}
	return 0
}

// withinWaits returns the wait or, if that is shorter or longer than any may be, the nearest that
// may be.
func withinWaits(d time.Duration) time.Duration { return min(max(d, time.Second), giveUpAfter) }

// maxReason is how long a reason may be, in bytes.
const maxReason = 300

// answerTo returns what an error instead of a response means.
func answerTo(ctx context.Context, err error) answer {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errAbandoned), errors.Is(cause, context.Canceled): // the latter at the end of Run
		return answer{verdict: abandoned}
	case errors.Is(cause, errTimeout):
		return answer{verdict: again, reason: fmt.Sprintf("no answer within %s", tryTimeout)}
	}
	if inURL, is := errors.AsType[*url.Error](err); is { // its text repeats the URL
		err = inURL.Err
	}
	reason := err.Error() // may quote what the target has sent
	return answer{verdict: again, reason: strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")}
}
