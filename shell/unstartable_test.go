package shell_test

import (
	"errors"
	"testing"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

// An instance that can never be activated stays deactivated, whatever an earlier host left of it, and can be
// destroyed.
func TestUnstartable(t *testing.T) {
	for name, p := range map[string]*shelltest.Plugin{
		"nothing left": {},
		"hibernated":   {Asleep: &shell.Sleep{Kind: shell.Stored, Bytes: 4096}},
		"left running": {LeftRunning: true},
	} {
		t.Run(name, func(t *testing.T) {
			p.Complain = t.Errorf
			p.ProbeInfo = &shell.Information{Class: "Fake"}
			config := configs.DefaultPlugin()
			config.Callsign, config.StartMode = "Fake.1", configs.StartActivated
			s := shell.New(shell.Options{
				Config: config, HibernateTimeout: hibernateTimeout, Log: zerolog.Nop(), Observer: &recorder{}, Unstartable: errBroken,
				Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
					p.Attach(config, sink)
					return p
				},
			})
			defer s.Close()
			if s.NeedsAdoption() || s.Adopt(t.Context()) != nil {
				t.Error("it is adopted")
			}
			if err := s.ProbeProgram(t.Context()); err != nil {
				t.Error(err)
			}
			for verb, err := range map[string]error{
				"activate": s.Activate(t.Context(), shell.Requested),
				"resume":   s.Resume(t.Context(), shell.Requested),
				"suspend":  s.Suspend(t.Context(), shell.Requested),
			} {
				if err == nil || verb == "activate" && (!errors.Is(err, shell.ErrIllegalState) || !errors.Is(err, errBroken)) {
					t.Errorf("%s: %v", verb, err)
				}
			}
			if st := s.Status(); st.State != shell.Deactivated || !errors.Is(st.Err, errBroken) {
				t.Errorf("it is %s, %v", st.State, st.Err)
			}
			if _, err := s.Invoke(t.Context(), shell.Call{Method: "echo"}); !errors.Is(err, shell.ErrUnavailable) {
				t.Errorf("a call: %v", err)
			}
			if err := s.Deactivate(t.Context(), shell.Requested); err != nil {
				t.Error(err)
			}
			if err := s.Destroy(t.Context(), shell.Requested); err != nil || s.State() != shell.Destroyed {
				t.Errorf("destroyed: %v, it is %s", err, s.State())
			}
			if actions := p.TakeActions(); len(actions) > 0 {
				t.Errorf("the plugin was asked for %v", actions)
			}
		})
	}
}
