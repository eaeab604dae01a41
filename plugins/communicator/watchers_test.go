package communicator

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func all(int) bool { return true }

// A watcher gets all reports in order, and a watcher that does not read delays none of
// the others.
func TestWatchers(t *testing.T) {
	var f watchers[int]
	reading, stuck := f.add(false, all), f.add(false, all)
	even := f.add(false, func(n int) bool { return n%2 == 0 })
	c := &Communicator{}
	got := make(chan int)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() {
		ended <- serveAndRemoveWatcher(ctx, c, &f, reading, func() error { return nil }, func(n int) error {
			got <- n
			return nil
		})
	}()
	hang := make(chan struct{})
	cut := make(chan error, 1)
	go func() {
		cut <- serveAndRemoveWatcher(ctx, c, &f, stuck, func() error { return nil }, func(int) error {
			<-hang
			return errors.New("its stream is over")
		})
	}()
	for n := range maxQueued + 2 {
		f.publishAndEndSlow(n)
		if g := <-got; g != n {
			t.Fatalf("got %d instead of %d", g, n)
		}
	}
	if err := <-cut; status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
	close(hang)
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	c.pumps.Wait()
	f.remove(even)
	var evens []int
	for n := range even.queue {
		evens = append(evens, n)
	}
	if diff := cmp.Diff([]int{0, 2, 4}, evens[:3]); diff != "" || len(evens) != maxQueued/2+1 {
		t.Errorf("got %d, %s", len(evens), diff)
	}
	if len(f.all) != 0 {
		t.Errorf("%d watchers are left", len(f.all))
	}
}

func TestWatchersEnd(t *testing.T) {
	var f watchers[int]
	native, own := f.add(true, all), f.add(false, all)
	f.endNativeWatchers()
	err := serveAndRemoveWatcher(t.Context(), &Communicator{}, &f, native, func() error { return nil }, func(int) error { return nil })
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	f.publishAndEndSlow(1)
	if n := <-own.queue; n != 1 {
		t.Errorf("got %d", n)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	c := &Communicator{}
	if err := serveAndRemoveWatcher(ctx, c, &f, own, func() error { return nil }, func(int) error { return nil }); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	c.pumps.Wait()
}
