package shell_test

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

// Nothing that was told to the observer before is told after it.
func TestWaitForReports(t *testing.T) {
	seen := &recorder{}
	told, tell := make(chan struct{}), make(chan struct{})
	seen.tell = func(shell.Transition) {
		told <- struct{}{}
		<-tell
	}
	fake := &shelltest.Plugin{}
	s := shell.New(shell.Options{
		Config: configs.DefaultPlugin(), Log: zerolog.Nop(), Observer: seen,
		Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			fake.Attach(config, sink)
			return fake
		},
	})
	unavailable := make(chan error, 1)
	go func() { unavailable <- s.MakeUnavailable(t.Context(), shell.Requested) }()
	<-told
	if s.State() != shell.Unavailable {
		t.Errorf("it is %s", s.State())
	}
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		s.WaitForReports(t.Context())
	}()
	select {
	case <-waited:
		t.Error("the transition was not waited for")
	case <-time.After(50 * time.Millisecond):
	}
	close(tell)
	<-waited
	if err := <-unavailable; err != nil {
		t.Error(err)
	}
	s.Close()
}
