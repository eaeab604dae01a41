package memory

import (
	"context"
	"errors"
	"os"
	"testing"
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
	const stall, window = 150 * time.Millisecond, 2 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- WatchPressure(ctx, stall, window, func() {}) }()
	cancel()
	err := <-ended
	if possible := CheckPressureSupport(stall, window); !errors.Is(err, errors.Unwrap(possible)) {
		t.Errorf("the watch ended with %v, the check with %v", err, possible)
	}
	if err := CheckPressureSupport(window, stall); err == nil {
		t.Error("a stall longer than its window was accepted")
	}
}
