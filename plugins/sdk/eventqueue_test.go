package sdk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/shell/shellpb"
)

type eventStream struct {
	t      *testing.T
	end    context.CancelFunc
	stream grpc.ServerStreamingClient[shellpb.Event]
}

func listen(t *testing.T, conn *grpc.ClientConn, after uint64) eventStream {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	stream, err := shellpb.NewDispatcherClient(conn).Events(ctx, &shellpb.EventsRequest{After: after})
	if err != nil {
		t.Fatal(err)
	}
	return eventStream{t, end, stream}
}

func (s eventStream) expect(from, to int) {
	s.t.Helper()
	for want := from; want <= to; want++ {
		e, err := s.stream.Recv()
		if err != nil {
			s.t.Fatalf("cannot receive event %d: %v", want, err)
		}
		if e.GetName() != "tick" || string(e.GetParams()) != fmt.Sprint(want) || e.GetSequence() != uint64(want) {
			s.t.Fatalf("got %v, want %d", e, want)
		}
	}
}

func emit(in *Instance, from, to int) {
	for n := from; n <= to; n++ {
		in.Emit("tick", n)
	}
}

func anyBegin(uint64) error { return nil }

// Each answer says how many events there were before it, also an error; the stream says
// where it begins.
func TestAnswersAnnounceEvents(t *testing.T) {
	c := &chatty{}
	conn := start(t, c)
	dispatcher := shellpb.NewDispatcherClient(conn)
	announced := func(method string) []string {
		t.Helper()
		var trailer metadata.MD
		_, err := dispatcher.Invoke(t.Context(), &shellpb.InvokeRequest{Method: method}, grpc.Trailer(&trailer))
		t.Logf("%s: %v", method, err)
		return trailer.Get(shellpb.EventsUntilKey)
	}
	if got := announced("unknown"); got != nil {
		t.Errorf("before the first event: %v", got)
	}
	c.in.Emit("one", nil)
	c.in.Emit("two", nil)
	for _, method := range []string{"unknown", "panic"} {
		if diff := cmp.Diff([]string{"2"}, announced(method)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", method, diff)
		}
	}
	var trailer metadata.MD
	if _, err := shellpb.NewPluginClient(conn).Deinitialize(t.Context(), &shellpb.DeinitializeRequest{}, grpc.Trailer(&trailer)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"2"}, trailer.Get(shellpb.EventsUntilKey)); diff != "" {
		t.Errorf("Deinitialize (-want +got):\n%s", diff)
	}
	for _, stream := range []struct{ after, begins uint64 }{{1, 1}, {2, 2}, {0, 2}} { // 0: where the last one was
		header, err := listen(t, conn, stream.after).stream.Header()
		if got, named := shellpb.ParseEventsUntil(header); err != nil || !named || got != stream.begins {
			t.Errorf("after %d the stream begins after %v, %v", stream.after, header, err)
		}
	}
}

func TestEvents(t *testing.T) {
	b := &bare{}
	conn := start(t, b)

	emit(b.in, 1, 3)
	first := listen(t, conn, 0)
	first.expect(1, 3)
	emit(b.in, 4, 100)
	first.expect(4, 100)

	first.end()
	emit(b.in, 101, 110)
	second := listen(t, conn, 100)
	second.expect(101, 110)

	t.Run("again what the host did not get", func(t *testing.T) {
		third := listen(t, conn, 95)
		third.expect(96, 110)
	})
	t.Run("only one stream", func(t *testing.T) {
		older := listen(t, conn, 109)
		older.expect(110, 110)
		newer := listen(t, conn, 109)
		newer.expect(110, 110)
		emit(b.in, 111, 120)
		newer.expect(111, 120)
		if e, err := older.stream.Recv(); status.Code(err) != codes.Aborted {
			t.Errorf("the older stream got %v, %v", e, err)
		}
	})
	t.Run("drop the oldest", func(t *testing.T) {
		emit(b.in, 121, 1000)
		listen(t, conn, 120).expect(1000-maxKeptEvents+1, 1000)
	})
}

// A host may remember a process that is gone.
func TestEventsAfterUnknown(t *testing.T) {
	q := newEventQueue(logger)
	q.addDroppingOldest(&shellpb.Event{Name: "one"})
	enough := errors.New("enough")
	err := q.sendUntilStreamEnds(t.Context(), 5000, anyBegin, func(e *shellpb.Event) error {
		if e.GetName() != "one" {
			t.Errorf("got %v", e)
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

func TestEventsWithIndexAndParams(t *testing.T) {
	b := &bare{}
	s := listen(t, start(t, b), 0)
	b.in.EmitAt("7", "door", struct {
		Open bool `json:"open"`
	}{true})
	b.in.Emit("chan", make(chan int))
	b.in.Emit("large", strings.Repeat("x", maxEventBytes))
	b.in.Emit("bell", nil)
	var got []string
	for range 2 {
		e, err := s.stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %s@%s%s", e.GetSequence(), e.GetName(), e.GetIndex(), e.GetParams()))
	}
	if diff := cmp.Diff([]string{`1 door@7{"open":true}`, `2 bell@`}, got); diff != "" {
		t.Error(diff)
	}
}

func TestEventsKeptBytes(t *testing.T) {
	q := newEventQueue(logger)
	for range 20 {
		q.addDroppingOldest(&shellpb.Event{Params: make([]byte, maxEventBytes)})
	}
	if len(q.kept) != maxKeptBytes/maxEventBytes || q.bytes != maxKeptBytes {
		t.Errorf("kept %d events with %d bytes", len(q.kept), q.bytes)
	}
}

// A stream that breaks while it sends leaves the event to the next one, unless
// that has begun already.
func TestEventsBrokenStream(t *testing.T) {
	q := newEventQueue(logger)
	q.addDroppingOldest(&shellpb.Event{Name: "one"})
	q.addDroppingOldest(&shellpb.Event{Name: "two"})
	broken := errors.New("broken")
	var got []string
	for _, fail := range []bool{true, true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		err := q.sendUntilStreamEnds(ctx, 0, anyBegin, func(e *shellpb.Event) error {
			got = append(got, e.GetName())
			if fail {
				return broken
			}
			if e.GetName() == "two" {
				cancel()
			}
			return nil
		})
		cancel()
		if fail != errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
	if diff := cmp.Diff([]string{"one", "one", "one", "two"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestEventsConcurrently(t *testing.T) {
	const emitters, each = 8, 25 // together within the bound
	b := &bare{}
	conn := start(t, b)
	var wait sync.WaitGroup
	for range emitters {
		wait.Go(func() {
			for range each {
				b.in.Emit("tick", nil)
			}
		})
	}
	defer wait.Wait()
	last := uint64(0)
	for last < emitters*each {
		s := listen(t, conn, last) // a new stream for every few events
		for range 10 {
			e, err := s.stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if e.GetSequence() != last+1 {
				t.Fatalf("got event %d after %d", e.GetSequence(), last)
			}
			last++
		}
		s.end()
	}
}
