package shell

import (
	"context"
	"errors"
	"testing"

	"github.com/rs/zerolog"

	"dormouse/configs"
)

// heir is a fake that an earlier host left running.
type heir struct {
	*fake
	left   bool
	err    error
	noted  []Reason
	leaves int
}

func (h *heir) NoteActivated(why Reason)  { h.noted = append(h.noted, why) }
func (h *heir) Inherited() (Reason, bool) { return Requested, h.left }
func (h *heir) OutlivesHost() bool        { return true }

func (h *heir) Adopt(ctx context.Context) (Information, error) {
	h.left = false
	if h.err != nil {
		return Information{}, h.err
	}
	return h.Launch(ctx)
}

func (h *heir) Leave(ctx context.Context) error {
	h.leaves++
	return h.Stop(ctx)
}

func adoptee(t *testing.T, err error) (*Shell, *heir) {
	t.Helper()
	r := newRig(t, setup{})
	h := &heir{fake: r.fake, left: true, err: err}
	config := r.Config()
	config.StartMode = configs.StartUnavailable
	s := New(Options{
		Config: config, HibernateTimeout: r.hibernateLimit, Log: zerolog.Nop(), Observer: r.observer,
		Backend: func(_ func() configs.Plugin, sink Sink) Backend {
			h.sink = sink
			return h
		},
	})
	t.Cleanup(s.Close)
	return s, h
}

func TestAdoptKeepsTheReason(t *testing.T) {
	s, h := adoptee(t, nil)
	if !s.NeedsAdoption() || s.State() != Deactivated {
		t.Fatalf("before the adoption it is %s", s.State())
	}
	if err := s.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := s.Status(); st.State != Activated || st.Reason != Requested || st.Err != nil {
		t.Errorf("it is %s for the reason %s, %v", st.State, st.Reason, st.Err)
	}
	if err := s.Leave(t.Context()); err != nil || h.leaves != 1 || s.State() != Activated {
		t.Errorf("got %v, %d leaves, %s", err, h.leaves, s.State())
	}
	if len(h.noted) != 1 || h.noted[0] != Requested {
		t.Errorf("noted was %v", h.noted)
	}
	if err := s.Activate(t.Context(), Requested); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after it left it could be activated: %v", err)
	}
}

func TestAdoptFails(t *testing.T) {
	s, h := adoptee(t, errBroken)
	if err := s.Adopt(t.Context()); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	if st := s.Status(); st.State != Deactivated || st.Reason != Failure || !errors.Is(st.Err, errBroken) {
		t.Errorf("it is %s for the reason %s, %v", st.State, st.Reason, st.Err)
	}
	if err := s.Adopt(t.Context()); err != nil || len(h.noted) > 0 {
		t.Errorf("once more: %v, noted %v", err, h.noted)
	}
}
