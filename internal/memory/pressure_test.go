package memory

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

func TestAvailable(t *testing.T) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		t.Fatal(err)
	}
	got, err := AvailableBytes()
	if total := int64(info.Totalram) * int64(info.Unit); err != nil || got <= 0 || got > total {
		t.Errorf("got %d of %d, %v", got, total, err)
	}
}

func TestWatchPressure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- WatchPressure(ctx, 150*time.Millisecond, 2*time.Second, func() {}) }()
	cancel()
	err, possible := <-ended, CheckPressureSupport(150*time.Millisecond, 2*time.Second)
	if (err == nil) != (possible == nil) {
		t.Errorf("the watch ended with %v, the check with %v", err, possible)
	}
}

// A poll reports waiting as soon as there is enough of it within a window, and once.
func TestPollPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stalled atomic.Int64
		var reported []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		ended := make(chan error, 1)
		go func() {
			ended <- pollPressure(ctx, 100*time.Millisecond, time.Second,
				func() (time.Duration, error) { return time.Duration(stalled.Load()), nil },
				func() { reported = append(reported, time.Since(begun)) })
		}()
		for _, waited := range []time.Duration{0, 90, 0, 0, 0, 0, 20, 70, 20, 0, 0, 0, 0, 0} { // each in a quarter of a second
			stalled.Add(int64(waited * time.Millisecond))
			<-time.After(250 * time.Millisecond)
			synctest.Wait()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(reported) != 1 || reported[0] < 2*time.Second || reported[0] > 2*time.Second+tenseInterval {
			t.Errorf("reported at %v, want once soon after 2s", reported)
		}
	})
}

func TestProvision(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &Provision{Bytes: 1 << 20, Files: func() []string { return []string{program} }}
	for range 2 {
		if err := p.Refill(); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.held) != 1<<20 || len(p.files.mappings) != 1 {
		t.Errorf("holds %d bytes and %d files", len(p.held), len(p.files.mappings))
	}
	p.Release()
	if p.held != nil {
		t.Error("holds the memory after Release")
	}
	p.Close()
	if err := p.Refill(); err != nil || p.held != nil {
		t.Errorf("holds memory after Close, %v", err)
	}
	var none *Provision
	none.Release()
	none.Close()
	if err := errors.Join(none.Refill(), (&Provision{Bytes: 1 << 50}).Refill()); err == nil || !strings.Contains(err.Error(), "are available") {
		t.Errorf("more than there is was kept: %v", err)
	}
}
