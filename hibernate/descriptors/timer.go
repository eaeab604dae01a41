package descriptors

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// timerTarget is the link of a timerfd in /proc.
const timerTarget = "anon_inode:[timerfd]"

// Timer is a timerfd that ticks, or that has a deadline at an absolute time. CRIU stops one
// that ticks if a tick was not read yet, and sets a deadline by whole seconds only.
type Timer struct {
	Place
	// Flags are those of timerfd_settime(2).
	Flags int `json:"flags,omitempty"`
	// Deadline is the time of the next tick: since 1970 if the timer has an absolute
	// deadline in wall time, otherwise of the monotonic clock as the tree sees it.
	Deadline time.Duration `json:"deadline"`
	Interval time.Duration `json:"interval,omitempty"`
	// Ticks are those not yet read.
	Ticks uint64 `json:"ticks,omitempty"`
	// Wall means that the deadline is in wall time.
	Wall bool `json:"wall,omitempty"`
}

// timerState is the lines of a timerfd in /proc/<pid>/fdinfo/<fd>.
type timerState struct {
	clock, flags int
	ticks        uint64
	interval     time.Duration
	isSet        bool // it runs, or has ticks to read
}

// readTimerState returns the state of the timer.
func readTimerState(d procfs.Descriptor) (s timerState, err error) {
	info := d.Info()
	if s.clock, err = strconv.Atoi(lineValue(info, "clockid:")); err != nil {
		return s, err
	}
	flags, err := strconv.ParseUint(lineValue(info, "settime flags:"), 8, 32)
	if err != nil {
		return s, err
	}
	s.flags = int(flags)
	if s.ticks, err = strconv.ParseUint(lineValue(info, "ticks:"), 10, 64); err != nil {
		return s, err
	}
	if s.interval, err = parseTimespec(lineValue(info, "it_interval:")); err != nil {
		return s, err
	}
	left, err := parseTimespec(lineValue(info, "it_value:"))
	s.isSet = left > 0 || s.ticks > 0
	return s, err
}

// parseTimespec returns the time in a text such as "(1, 500000000)".
func parseTimespec(text string) (time.Duration, error) {
	var t unix.Timespec
	_, err := fmt.Sscanf(strings.TrimSpace(text), "(%d, %d)", &t.Sec, &t.Nsec)
	return time.Duration(t.Nano()), err
}

// addTimer adds a note of the timer, unless an engine restores it as it is: one that is not
// set, and one that fires once after a time.
func (n *Notes) addTimer(d procfs.Descriptor, place Place) error {
	s, err := readTimerState(d)
	if err != nil {
		return err
	}
	isAbsolute := s.flags&unix.TFD_TIMER_ABSTIME != 0
	if !s.isSet || s.interval == 0 && !isAbsolute {
		return nil
	}
	t := Timer{Place: place, Flags: s.flags, Interval: s.interval, Wall: isAbsolute && isWallClock(s.clock)}
	return d.WithDuplicate(func(fd int) error {
		var left unix.ItimerSpec
		if err := unix.TimerfdGettime(fd, &left); err != nil { // starts the next interval of one that has fired
			return err
		}
		now, err := t.now(d.PID)
		if err != nil {
			return err
		}
		if s, err = readTimerState(d); err != nil { // with the ticks until now
			return err
		}
		t.Deadline, t.Ticks = now+time.Duration(left.Value.Nano()), s.ticks
		n.Timers = append(n.Timers, t)
		return nil
	})
}

// isWallClock reports whether the clock of timerfd_create(2) is wall time.
func isWallClock(clock int) bool {
	return clock == unix.CLOCK_REALTIME || clock == unix.CLOCK_REALTIME_ALARM
}

// now returns the time by the clock of t.Deadline; pid is a process of the timer's tree.
func (t Timer) now(pid int) (time.Duration, error) {
	if t.Wall {
		return readClock(unix.CLOCK_REALTIME)
	}
	now, err := readClock(unix.CLOCK_MONOTONIC)
	if err != nil {
		return 0, err
	}
	offset, err := monotonicOffset(pid)
	return now + offset, err
}

// readClock returns the time of the clock in this process.
func readClock(clock int32) (time.Duration, error) {
	var now unix.Timespec
	err := unix.ClockGettime(clock, &now)
	return time.Duration(now.Nano()), err
}

// monotonicOffset returns how much the monotonic clock of the process is ahead of the kernel's
// own, see time_namespaces(7).
func monotonicOffset(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/timens_offsets", pid))
	if os.IsNotExist(err) { // this kernel has no time namespaces
		return 0, nil
	}
	var t unix.Timespec
	if err == nil {
		_, err = fmt.Sscan(lineValue(string(text), "monotonic"), &t.Sec, &t.Nsec)
	}
	return time.Duration(t.Nano()), err
}

// applyTo sets the restored timer d, however the engine has set it.
func (t Timer) applyTo(d procfs.Descriptor) error {
	now, err := t.now(d.PID)
	if err != nil {
		return err
	}
	return d.WithDuplicate(func(fd int) error {
		setting := unix.ItimerSpec{Interval: unix.NsecToTimespec(int64(t.Interval))}
		left, ticks, flags := t.Deadline, t.Ticks, t.Flags
		if !t.Wall {
			left, ticks = t.timeLeftAndTicks(now)
			flags = 0
		}
		setting.Value = unix.NsecToTimespec(int64(left))
		err := unix.TimerfdSettime(fd, flags, &setting, nil)
		if err == nil && ticks > 0 {
			err = setTicks(fd, ticks)
		}
		return err
	})
}

// timeLeftAndTicks returns the time from now to the next tick, 0 if there will be none, and
// the ticks to be read before. The tree's clock goes on where the image was made, a moment
// before t was noted: what the timer has ticked in between is still to come.
func (t Timer) timeLeftAndTicks(now time.Duration) (left time.Duration, ticks uint64) {
	if t.Interval == 0 {
		if t.Ticks > 0 {
			return 0, t.Ticks
		}
		return max(t.Deadline-now, 1), 0
	}
	firstUnread := t.Deadline - time.Duration(t.Ticks)*t.Interval
	if left = firstUnread - now; left > 0 {
		return left, 0
	}
	passed := -left/t.Interval + 1
	return left + passed*t.Interval, uint64(passed)
}

// setTicks makes the ticks readable from the timer.
func setTicks(fd int, ticks uint64) error {
	const setTicks = 0x40085400 // TFD_IOC_SET_TICKS
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), setTicks, uintptr(unsafe.Pointer(&ticks))); errno != 0 {
		return errno
	}
	return nil
}
