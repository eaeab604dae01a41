// Program picky is a plugin that a test wants to be verified: its arguments say what
// is special about it.
package main

import (
	"context"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"dormouse/plugins/sdk"
)

func main() { sdk.Serve(picky{}) }

type picky struct{}

func (picky) Information() sdk.Information {
	i := sdk.Information{Name: "picky"}
	if slices.Contains(os.Args, "site") {
		i.Preconditions, i.Terminations = []string{"Backend"}, []string{"!Backend"}
	}
	return i
}

// Initialize restricts the whole program by Landlock if it was asked to.
func (picky) Initialize(context.Context, *sdk.Instance) error {
	if !slices.Contains(os.Args, "landlock") {
		return nil
	}
	handled := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&handled)), unsafe.Sizeof(handled), 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd)) //nolint:errcheck // nothing was written that could be lost
	for _, call := range [][3]uintptr{{unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1}, {unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0}} {
		if _, _, errno := syscall.AllThreadsSyscall(call[0], call[1], call[2], 0); errno != 0 {
			return errno
		}
	}
	return nil
}

func (picky) Deinitialize(context.Context, sdk.Reason) error { return nil }
func (picky) Suspend(context.Context) error                  { return nil }
func (picky) Resume(context.Context) error                   { return nil }
