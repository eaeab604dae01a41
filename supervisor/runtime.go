package supervisor

import (
	"context"
	"encoding/json"
	"errors"

	"dormouse/configs"
)

// Clone makes an instance with the configuration of another, deactivated. It
// exists after a restart of the host too, until it is destroyed. The error wraps
// ErrUnknown, ErrExists or ErrNotCloneable, or says what is wrong with the name.
func (s *Supervisor) Clone(ctx context.Context, callsign, newCallsign string) error {
	return errors.ErrUnsupported
}

// Destroy ends a clone for good, with all that is kept of it. For an instance
// that the configuration names it does nothing. The error may wrap ErrUnknown.
func (s *Supervisor) Destroy(ctx context.Context, callsign string) error {
	return errors.ErrUnsupported
}

// Configure replaces the plugin's own table of an instance that is not active:
// raw is a JSON object. It holds until the host ends, unless Persist is called.
// The error wraps ErrUnknown, ErrNotAnObject or shell.ErrIllegalState.
func (s *Supervisor) Configure(ctx context.Context, callsign string, raw json.RawMessage) error {
	return errors.ErrUnsupported
}

// Persist keeps what Configure changed across restarts of the host, for one
// instance or, when callsign is empty, for all.
func (s *Supervisor) Persist(ctx context.Context, callsign string) error {
	return errors.ErrUnsupported
}

// Restore forgets what Persist kept and what Configure changed: the next
// activation sees what the configuration files say.
func (s *Supervisor) Restore(ctx context.Context, callsign string) error {
	return errors.ErrUnsupported
}

// Reload makes the roster that of plugins: it changes only what differs, and
// returns one line for each instance that it changed, sorted by callsign. A
// failure to start or end one instance is such a line too.
func (s *Supervisor) Reload(ctx context.Context, plugins []configs.Plugin) ([]string, error) {
	return nil, errors.ErrUnsupported
}
