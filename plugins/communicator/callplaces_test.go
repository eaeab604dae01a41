package communicator

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/plugins/access"
	"dormouse/plugins/controller/controllerpb"
	"dormouse/plugins/peer"
)

// user60009 is a client of a user without any other right than to read.
var user60009 = access.Client{User: &access.User{UID: 60009}, Loopback: true}

// watch begins a call that goes on, and returns what ends it.
func watch(t *testing.T, conn *grpc.ClientConn) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	stream, err := controllerpb.NewControllerClient(conn).Watch(ctx, &controllerpb.WatchRequest{})
	if err == nil {
		_, err = stream.Header() // it is under way
	}
	if err != nil {
		t.Fatal(err)
	}
	return cancel
}

// version makes a short call.
func version(t *testing.T, conn *grpc.ClientConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := controllerpb.NewControllerClient(conn).Version(ctx, &controllerpb.VersionRequest{})
	return err
}

// waitUntil returns once is returns true.
func waitUntil(t *testing.T, is func() bool) {
	t.Helper()
	tick, late := time.Tick(time.Millisecond), time.After(10*time.Second)
	for !is() {
		select {
		case <-tick:
		case <-late:
			t.Fatal("it did not happen")
		}
	}
}

// One peer's calls leave room for those of others.
func TestCallsOfOnePeer(t *testing.T) {
	h := newGuardedHost(t)
	h.callLimits = peer.Limits{All: 3, Share: 2, Reserve: 1}
	stranger := h.connect(user60009)
	end := watch(t, stranger)
	watch(t, stranger)
	err := version(t, stranger)
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "user 60009 has all 2 that one peer may have") {
		t.Errorf("beyond its share: %v", err)
	}
	watch(t, h.connect(withRole(access.Read)))
	if err := version(t, h.connect(access.Client{User: &access.User{}})); err != nil {
		t.Errorf("root: %v", err)
	}
	end()
	waitUntil(t, func() bool { return version(t, stranger) == nil })
	waitUntil(t, func() bool { return h.callPlaces.Count() == 2 })
}

// A native client without a call under way gives way to a new one; root finds a place
// while others hold all.
func TestNativeClientsGiveWay(t *testing.T) {
	h := newGuardedHost(t)
	list := h.natives[0].connections
	list.limits = peer.Limits{All: 2, Share: 1, Reserve: 1}
	first, second := h.connect(user60009), h.connect(user60009)
	h.client.Store(&user60009)
	end := watch(t, first)
	if err := version(t, second); status.Code(err) != codes.Unavailable {
		t.Errorf("beside a call: %v", err)
	}
	watch(t, h.connect(withRole(access.Read)))
	if err := version(t, h.connect(access.Client{User: &access.User{}})); err != nil {
		t.Errorf("root: %v", err)
	}
	end()
	h.client.Store(&user60009)
	waitUntil(t, func() bool { return version(t, second) == nil })
	if n := list.places.Count(); n > 3 {
		t.Errorf("%d places are taken", n)
	}
}
