package hibernate

import "errors"

// FailureClass says what the failure of a wake means for the image.
type FailureClass string

const (
	// Passing means that the image is as good as before and the wake may succeed later:
	// something that the wake needs is short, missing, taken or too slow now.
	Passing FailureClass = "passing"
	// Lasting means that the image is as good as before, but no wake can succeed until
	// the host is again what it was: the executable, a library, the kernel or the engine
	// is another one.
	Lasting FailureClass = "lasting"
	// Untrusted means that the image must never be restored: it is damaged, forged or used.
	Untrusted FailureClass = "untrusted"
)

// failureClasses is the class of each cause that is not Passing. An error with several
// causes has the class of the first entry that it wraps.
var failureClasses = []struct {
	cause error
	class FailureClass
}{
	{ErrUsedUp, Untrusted},
	{ErrRefused, Untrusted},
	{ErrChanged, Lasting},
}

// ClassifyFailure returns the class of err, the error of a wake. An error with an unknown
// cause is Passing, so that the host keeps the image.
func ClassifyFailure(err error) FailureClass {
	for _, one := range failureClasses {
		if errors.Is(err, one.cause) {
			return one.class
		}
	}
	return Passing
}
