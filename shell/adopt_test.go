package shell_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

// adoptee returns a shell whose plugin an earlier host left running.
func adoptee(t *testing.T, err error) (*shell.Shell, *shelltest.Plugin) {
	t.Helper()
	p := &shelltest.Plugin{LeftRunning: true, Complain: t.Errorf}
	p.Fail(shelltest.Adopt, err)
	config := configs.DefaultPlugin()
	config.Callsign, config.StartMode = "Fake", configs.StartUnavailable
	s := shell.New(shell.Options{
		Config: config, HibernateTimeout: hibernateTimeout, Log: zerolog.Nop(), Observer: &recorder{},
		Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			p.Attach(config, sink)
			return p
		},
	})
	t.Cleanup(s.Close)
	return s, p
}

func TestAdoptKeepsTheReason(t *testing.T) {
	s, p := adoptee(t, nil)
	if !s.NeedsAdoption() || s.State() != shell.Deactivated {
		t.Fatalf("before the adoption it is %s", s.State())
	}
	if err := s.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := s.Status(); st.State != shell.Activated || st.Reason != shell.Requested || st.Err != nil {
		t.Errorf("it is %s for the reason %s, %v", st.State, st.Reason, st.Err)
	}
	if err := s.LeaveOrDeactivate(t.Context()); err != nil || s.State() != shell.Activated {
		t.Errorf("got %v, %s", err, s.State())
	}
	if actions := p.TakeActions(); !slices.Equal(actions, []string{shelltest.Adopt, shelltest.Leave}) {
		t.Errorf("the actions were %v", actions)
	}
	if len(p.ActivationReasons()) != 1 || p.ActivationReasons()[0] != shell.Requested {
		t.Errorf("noted was %v", p.ActivationReasons())
	}
	if err := s.Activate(t.Context(), shell.Requested); !errors.Is(err, shell.ErrUnavailable) {
		t.Errorf("after it left it could be activated: %v", err)
	}
}

func TestAdoptFails(t *testing.T) {
	s, p := adoptee(t, errBroken)
	if err := s.Adopt(t.Context()); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	if st := s.Status(); st.State != shell.Deactivated || st.Reason != shell.Failure || !errors.Is(st.Err, errBroken) {
		t.Errorf("it is %s for the reason %s, %v", st.State, st.Reason, st.Err)
	}
	if err := s.Adopt(t.Context()); err != nil || len(p.ActivationReasons()) > 0 {
		t.Errorf("once more: %v, noted %v", err, p.ActivationReasons())
	}
}
