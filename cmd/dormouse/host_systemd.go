package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"dormouse/configs"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// systemdReloadingState returns the state for notifySystemd that announces a reload. The
// time in it shows systemd that the reload began after its signal.
func systemdReloadingState() string {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // there always is one
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000)
}

// notifySystemd reports a state of the host to systemd, see sd_notify(3). It does nothing
// if systemd does not run the host.
func notifySystemd(state string) {
	_, _ = daemon.SdNotify(false, state)
}

// statusForSystemd returns the line of the status that systemd shows: which files were left out
// of the configuration, nothing if none.
func (h *hostServer) statusForSystemd() string {
	var places []string
	for _, file := range h.host.Supervisor.LeftOut() {
		places = append(places, file.Places())
	}
	if len(places) == 0 {
		return "\nSTATUS="
	}
	return "\nSTATUS=plugins are missing, for what is wrong at " + strings.Join(places, ", ")
}

// storeSocketInSystemd has systemd keep a duplicate of a listener's socket under that name,
// for the next host, until the service is stopped for good. It does nothing if systemd does
// not run the host, and ignores failures.
func storeSocketInSystemd(name string, l net.Listener) {
	to := os.Getenv("NOTIFY_SOCKET")
	raw, err := l.(syscall.Conn).SyscallConn() //nolint:errcheck // every socket has it
	if to == "" || err != nil {
		return
	}
	from, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // without it clients are refused for a moment
		_ = unix.Sendmsg(from, []byte("FDSTORE=1\nFDNAME="+name), unix.UnixRights(int(fd)), &unix.SockaddrUnix{Name: to}, 0)
	})
	_ = unix.Close(from) // nothing was written to it that could fail
}

// removeSocketFromSystemd has systemd close the socket that it keeps under that name.
func removeSocketFromSystemd(name string) { notifySystemd("FDSTOREREMOVE=1\nFDNAME=" + name) }

// feedSystemdWatchdog reports to systemd's watchdog, until ctx ends, that the host works:
// that it can still read the state of every instance. It does nothing if systemd does not
// watch the host.
func feedSystemdWatchdog(ctx context.Context, h *hostServer) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		for _, s := range h.host.Supervisor.Shells() {
			_ = s.State()
		}
		notifySystemd(daemon.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// credential is the name of the images' key among systemd's credentials.
const credential = "dormouse-image-key"

// imageKeyFileOrCredential returns the path of the file with the images' key: the
// configured one, else systemd's credential, "" if there is neither.
func imageKeyFileOrCredential(c configs.Hibernate) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if c.KeyFile != "" || dir == "" {
		return c.KeyFile
	}
	path := filepath.Join(dir, credential)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return ""
	}
	return path
}
