package shell

import (
	"context"
	"errors"
	"time"
)

// cuttable is ctx until limit has passed, or until the host shuts down: what only
// begins something, or can be asked again, keeps nobody waiting then. What moves a
// plugin between its process and its image is never cut, nor is its end.
func (s *Shell) cuttable(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cut := context.WithCancelCause(ctx)
	kept := context.AfterFunc(s.shutdown, func() { cut(errClosing) })
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, func() {
		kept()
		cancel()
		cut(nil)
	}
}

// cutShort is err, or errClosing where that is why the work of ctx failed.
func cutShort(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errClosing) {
		return errClosing
	}
	return err
}
