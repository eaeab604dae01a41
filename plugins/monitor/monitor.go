// Package monitor is the built-in plugin of Thunder's class Monitor. It measures
// the memory of other instances, ends instances that take too much or don't answer,
// and restarts instances that failed. It does not know how a plugin runs, nor which
// clients read its figures.
package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/supervisor"
)

// Class is the class of the plugin, as a configuration names it.
const Class = "Monitor"

// monitor is the backend of an instance of the class Monitor. Its watch does the
// work between Initialize and Stop.
type monitor struct {
	supervisor *supervisor.Supervisor
	config     func() configs.Plugin
	sink       shell.Sink
	log        zerolog.Logger

	mu    sync.Mutex
	watch *watch // nil before Initialize and after Stop
}

var _ shell.Backend = (*monitor)(nil)

// New returns the backend of a Monitor instance, which watches other instances of
// s.
func New(s *supervisor.Supervisor, config func() configs.Plugin, sink shell.Sink, log zerolog.Logger) shell.Backend {
	return &monitor{
		supervisor: s,
		config:     config,
		sink:       sink,
		log:        log.With().Str("callsign", config().Callsign).Logger(),
	}
}

// Launch returns the description of the class. A Monitor has no process to launch.
func (m *monitor) Launch(context.Context) (shell.Information, error) {
	return shell.Information{
		Class:       Class,
		Description: "Watches memory and health of other instances and restarts what failed",
		Version:     shell.Version{Major: 1},
	}, nil
}

// Initialize begins to watch. The error names the observable whose settings are
// wrong.
func (m *monitor) Initialize(context.Context) error {
	configured, err := readSettings(m.config().ConfigurationJSON())
	if err == nil {
		err = m.checkSettingsAndWarn(configured)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", shell.ErrInitialization, err)
	}
	w := newWatch(m.supervisor, m.sink, m.log, configured)
	w.start()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watch = w
	return nil
}

// checkSettingsAndWarn returns an error for an observable that can't be watched: the
// monitor itself and instances that it requires. It logs settings that may be a mistake.
func (m *monitor) checkSettingsAndWarn(configured []settings) error {
	config := m.config()
	own := config.Callsign
	for _, s := range configured {
		switch sh, ok := m.supervisor.Shell(s.callsign); {
		case s.callsign == own:
			return fmt.Errorf("observable %s: it cannot watch itself", own)
		case m.requiresTransitively(config, s.callsign):
			return fmt.Errorf("observable %s: %s requires it, and would be ended before it", s.callsign, own)
		case !ok:
			m.log.Warn().Str("observable", s.callsign).Msg("there is no such instance to watch yet")
		case s.restart != nil && sh.Config().Restart.Policy != configs.RestartNever:
			m.log.Warn().Str("observable", s.callsign).Str("policy", string(sh.Config().Restart.Policy)).
				Msg("left restarting to the instance's own policy")
		}
	}
	return nil
}

// requiresTransitively reports whether c requires the instance, directly or through other
// instances.
func (m *monitor) requiresTransitively(c configs.Plugin, callsign string) bool {
	for _, needed := range c.Requires {
		if needed == callsign {
			return true
		}
		if sh, ok := m.supervisor.Shell(needed); ok && m.requiresTransitively(sh.Config(), callsign) {
			return true
		}
	}
	return false
}

// Deinitialize does nothing: Stop ends the watch.
func (m *monitor) Deinitialize(context.Context, shell.Reason) error { return nil }

// Stop ends the watch and waits for its goroutines. It returns an error if ctx ends first.
func (m *monitor) Stop(ctx context.Context) error {
	m.mu.Lock()
	w := m.watch
	m.watch = nil
	m.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.stop(ctx)
}

// Invoke serves a method of the Monitor. The error is shell.ErrUnknownMethod,
// shell.ErrUnavailable before Initialize and after Stop, or a *shell.PluginError.
func (m *monitor) Invoke(_ context.Context, c shell.Call) (json.RawMessage, error) {
	called, ok := methods[c.Method]
	if !ok {
		return nil, shell.ErrUnknownMethod
	}
	m.mu.Lock()
	w := m.watch
	m.mu.Unlock()
	if w == nil {
		return nil, shell.ErrUnavailable
	}
	result, err := called.serve(w, c)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

// Exists reports whether the Monitor has a method of that name.
func (m *monitor) Exists(_ context.Context, method string) (bool, error) {
	_, exists := methods[method]
	return exists, nil
}

// ProcessFigures returns zero figures, because a Monitor has no process.
func (m *monitor) ProcessFigures() shell.ProcessFigures { return shell.ProcessFigures{} }
