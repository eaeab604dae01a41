package sdk

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
	"dormouse/statecontrol/statecontrolpb"
)

func TestStateControl(t *testing.T) {
	a := &able{}
	conn := connect(t, a)
	control := statecontrol.NewClient(conn)
	expect := func(want statecontrol.State) {
		t.Helper()
		if got, err := control.State(t.Context()); err != nil || got != want {
			t.Errorf("state is %s, %v, want %s", got, err, want)
		}
	}
	request := func(c statecontrol.Command, want error) {
		t.Helper()
		if err := control.Request(t.Context(), c); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", c, err, want)
		}
	}

	expect(statecontrol.Uninitialized)
	request(statecontrol.Resume, statecontrol.ErrIllegalState)
	plugin := shellpb.NewPluginClient(conn)
	if _, err := plugin.Initialize(t.Context(), &shellpb.InitializeRequest{}); err != nil {
		t.Fatal(err)
	}
	expect(statecontrol.Suspended)
	request(statecontrol.Suspend, statecontrol.ErrIllegalState)
	request(statecontrol.Resume, nil)
	request(statecontrol.Resume, statecontrol.ErrIllegalState)
	expect(statecontrol.Resumed)

	a.suspend = func() error { return &Error{Code: InProgress, Message: "busy"} }
	err := control.Request(t.Context(), statecontrol.Suspend)
	if status.Convert(err).Message() != "busy" || shellpb.ErrorDetailOf(err).GetCode() != InProgress {
		t.Errorf("got %v", err)
	}
	a.suspend = func() error { panic("no") }
	if err := control.Request(t.Context(), statecontrol.Suspend); status.Code(err) != codes.Internal {
		t.Errorf("got %v", err)
	}
	expect(statecontrol.Resumed)
	a.suspend = nil
	request(statecontrol.Suspend, nil)

	_, err = statecontrolpb.NewStateControlClient(conn).Request(t.Context(), &statecontrolpb.RequestRequest{})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("a request without a command got %v", err)
	}
	if _, err := plugin.Deinitialize(t.Context(), &shellpb.DeinitializeRequest{}); err != nil {
		t.Fatal(err)
	}
	expect(statecontrol.Exited)
	request(statecontrol.Resume, statecontrol.ErrIllegalState)
}

func TestStateControlWatch(t *testing.T) {
	a := &able{}
	control := statecontrol.NewClient(start(t, a))
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan statecontrol.State)
	ended := make(chan error, 1)
	go func() { ended <- control.Watch(ctx, func(s statecontrol.State) { seen <- s }) }()
	got := []statecontrol.State{<-seen}

	// Several changes before the watcher takes the first: it must miss none.
	for range 2 {
		if err := a.in.Request(ctx, statecontrol.Resume); err != nil {
			t.Fatal(err)
		}
		if err := a.in.Request(ctx, statecontrol.Suspend); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		got = append(got, <-seen)
	}
	want := []statecontrol.State{"suspended", "resumed", "suspended", "resumed", "suspended"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := a.in.Request(ctx, statecontrol.Suspend); !errors.Is(err, statecontrol.ErrIllegalState) {
		t.Errorf("got %v", err)
	}
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Errorf("Watch ended with %v", err)
	}
}

func TestStateControlOneAtATime(t *testing.T) {
	var running, suspended atomic.Int32
	a := &able{}
	a.suspend = func() error {
		if running.Add(1) > 1 {
			t.Error("two requests ran at the same time")
		}
		suspended.Add(1)
		running.Add(-1)
		return nil
	}
	control := statecontrol.NewClient(start(t, a))
	var resumed atomic.Int32
	var wait sync.WaitGroup
	for _, c := range []statecontrol.Command{statecontrol.Suspend, statecontrol.Resume} {
		for range 8 {
			wait.Go(func() {
				switch err := control.Request(t.Context(), c); {
				case err == nil && c == statecontrol.Resume:
					resumed.Add(1)
				case err != nil && !errors.Is(err, statecontrol.ErrIllegalState):
					t.Error(err)
				}
			})
		}
	}
	wait.Wait()
	if d := resumed.Load() - suspended.Load(); d != 0 && d != 1 {
		t.Errorf("%d times resumed and %d times suspended", resumed.Load(), suspended.Load())
	}
}

func TestStateControlGivesUp(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	a := &able{}
	conn := start(t, a)
	control := statecontrol.NewClient(conn)
	if err := control.Request(t.Context(), statecontrol.Resume); err != nil {
		t.Fatal(err)
	}
	a.suspend = func() error {
		close(entered)
		<-leave
		return nil
	}
	first := make(chan error, 1)
	go func() { first <- control.Request(t.Context(), statecontrol.Suspend) }()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.in.Request(ctx, statecontrol.Suspend); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(leave)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestNoStateControl(t *testing.T) {
	b := &bare{}
	conn := start(t, b)
	if _, err := statecontrol.NewClient(conn).State(t.Context()); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
	if err := b.in.Request(t.Context(), statecontrol.Suspend); err == nil {
		t.Error("a plugin without state control could suspend")
	}
}
