package supervisor

import (
	"context"

	"dormouse/shell"
)

// replaceIfOutdated ends a plugin that sleeps since an earlier host with another configuration
// than its instance has now, and starts it anew, as a reload does. If the wake that this takes
// can't be now, the shell tries again by itself. The shell logs and keeps the error. why is the
// reason of the new start.
func (s *Supervisor) replaceIfOutdated(ctx context.Context, sh *shell.Shell, why shell.Reason) {
	if sh.OutdatedSleep() != nil {
		_ = sh.ReplaceOutdated(ctx, why)
	}
}
