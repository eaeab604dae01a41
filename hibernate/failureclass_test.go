package hibernate

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
)

func TestClassifyFailure(t *testing.T) {
	for _, test := range []struct {
		err  error
		want FailureClass
	}{
		{errors.New("CRIU says: something that this host never heard of"), Passing},
		{fmt.Errorf("cannot open: %w", syscall.EMFILE), Passing},
		{fmt.Errorf("cannot fork: %w", syscall.EAGAIN), Passing},
		{syscall.ENOMEM, Passing},
		{syscall.EIO, Passing},
		{context.DeadlineExceeded, Passing},
		{context.Canceled, Passing},
		{ErrUnsupported, Passing},
		{ErrKey, Passing},
		{ErrSpace, Passing},
		{fmt.Errorf("%w: a library", ErrChanged), Lasting},
		{fmt.Errorf("%w: pages-1.img is damaged", ErrRefused), Untrusted},
		{ErrSpent, Untrusted},
		{fmt.Errorf("%w: %w", ErrUsedUp, syscall.EMFILE), Untrusted},
		{errors.Join(syscall.ENOMEM, ErrChanged), Lasting},
		{errors.Join(ErrChanged, ErrRefused), Untrusted},
	} {
		if got := ClassifyFailure(test.err); got != test.want {
			t.Errorf("%v: got %s, want %s", test.err, got, test.want)
		}
	}
}
