package spawn

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestExclusive(t *testing.T) {
	var within, ran atomic.Int32
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 100 {
				err := Exclusive(func() error {
					defer within.Add(-1)
					if within.Add(1) != 1 {
						t.Error("two at once")
					}
					ran.Add(1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	if ran.Load() != 800 {
		t.Errorf("%d of 800 ran", ran.Load())
	}
}

// A start that fails, even one that panics, does not keep the next from running.
func TestExclusiveAfterFailure(t *testing.T) {
	cause := errors.New("no memory")
	if err := Exclusive(func() error { return cause }); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = Exclusive(func() error { panic("at the start") })
	}()
	if err := Exclusive(func() error { return nil }); err != nil {
		t.Error(err)
	}
}
