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

// A watcher hears all in order, and nobody waits for one that does not read.
func TestFeed(t *testing.T) {
	var f feed[int]
	reading, stuck := f.subscribe(false, all), f.subscribe(false, all)
	even := f.subscribe(false, func(n int) bool { return n%2 == 0 })
	c := &Communicator{}
	got := make(chan int)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() {
		ended <- watch(ctx, c, &f, reading, func() error { return nil }, func(n int) error {
			got <- n
			return nil
		})
	}()
	hang := make(chan struct{})
	cut := make(chan error, 1)
	go func() {
		cut <- watch(ctx, c, &f, stuck, func() error { return nil }, func(int) error {
			<-hang
			return errors.New("its stream is over")
		})
	}()
	for n := range queued + 2 {
		f.publish(n)
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
	f.unsubscribe(even)
	var evens []int
	for n := range even.queue {
		evens = append(evens, n)
	}
	if diff := cmp.Diff([]int{0, 2, 4}, evens[:3]); diff != "" || len(evens) != queued/2+1 {
		t.Errorf("got %d, %s", len(evens), diff)
	}
	if len(f.watchers) != 0 {
		t.Errorf("%d watchers are left", len(f.watchers))
	}
}

func TestFeedEnds(t *testing.T) {
	var f feed[int]
	native, own := f.subscribe(true, all), f.subscribe(false, all)
	f.end()
	err := watch(t.Context(), &Communicator{}, &f, native, func() error { return nil }, func(int) error { return nil })
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	f.publish(1)
	if n := <-own.queue; n != 1 {
		t.Errorf("got %d", n)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	c := &Communicator{}
	if err := watch(ctx, c, &f, own, func() error { return nil }, func(int) error { return nil }); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	c.pumps.Wait()
}
