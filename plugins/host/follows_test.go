package host

import (
	"errors"
	"testing"

	"github.com/rs/zerolog"
)

// A host that serves QHAna's programs nothing has no address of its own for tasks elsewhere.
func TestCallbackNeedsAddress(t *testing.T) {
	for url, want := range map[string]string{"": "", "http://tv.lan:8080": "http://tv.lan:8080/qhana/callbacks/token/"} {
		o := PrivateOptions(t.TempDir(), zerolog.Nop())
		o.private = false
		o.Config.Host.PublicURL = url
		h, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.follows.Callback("token"); got != want {
			t.Errorf("with the public URL %q it is called at %q", url, got)
		}
		if _, own := h.ownTask("/qhana/tasks/x/"); own {
			t.Errorf("with the public URL %q a path alone is the address of a task", url)
		}
		if err := errors.Join(h.StopPluginsAndCommunicator(t.Context()), h.CleanUpAndClose(false)); err != nil {
			t.Error(err)
		}
	}
}
