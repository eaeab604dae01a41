package thunder

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"dormouse/shell"
	"dormouse/supervisor"
)

func TestNumberOf(t *testing.T) {
	for _, test := range []struct {
		err  error
		want ErrorNumber
	}{
		{errors.New("something"), 1},
		{&shell.PluginError{Message: "no number"}, 1},
		{fmt.Errorf("cannot suspend: %w", shell.ErrNoStateControl), 2},
		{fmt.Errorf("cannot hibernate: %w", shell.ErrIllegalState), 5},
		{context.DeadlineExceeded, 11},
		{fmt.Errorf("%w: %q", supervisor.ErrUnknown, "X"), 22},
		{supervisor.ErrNotControlled, 24},
		{shell.ErrPending, 31},
		{fmt.Errorf("cannot ask: %w", &shell.PluginError{Code: 1001}), 1001},
		{&shell.PluginError{Code: -32602}, -32602},
	} {
		if got := NumberOrPluginCode(test.err); got != test.want {
			t.Errorf("%v: got %d, want %d", test.err, got, test.want)
		}
	}
}
