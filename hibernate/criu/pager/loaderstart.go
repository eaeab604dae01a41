package pager

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
	"dormouse/internal/reap"
	"dormouse/internal/unixsock"
)

// LoaderVerb is the first argument of a loader: a process of this program that loads
// memory into a tree, so that the host may end meanwhile. The main function must call
// RunLoader when it finds LoaderVerb.
const LoaderVerb = "load"

// loaderName is the name of a loader in /proc/<pid>/comm.
const loaderName = "dormouse-load"

// IsLoader reports whether the process is a loader. A loader ends by itself when its tree
// has ended, and must not be killed earlier.
func IsLoader(pid int) bool { return procfs.ProcessName(pid) == loaderName }

// reapEndedLoaders reaps all loaders that have ended and are children of this process, such as
// those that ended while this process executed itself anew.
func reapEndedLoaders() {
	for _, child := range procfs.Children(os.Getpid()) {
		if procfs.HasEnded(child) && IsLoader(child) {
			_, _ = syscall.Wait4(child, nil, syscall.WNOHANG, nil) // another goroutine may have reaped it
		}
	}
}

// loaderEndLimit is how long a loader that has removed its socket may take to end.
const loaderEndLimit = 5 * time.Second

// awaitAndReapLoaderOf reaps the child that is a loader of that directory and about to end, if
// there is one.
func awaitAndReapLoaderOf(loaderDir string) {
	dir, err := os.Stat(loaderDir)
	if err != nil {
		return
	}
	for _, child := range procfs.Children(os.Getpid()) {
		if !IsLoader(child) {
			continue
		}
		worksIn, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", child)) // fails if the child is ending
		if err != nil || os.SameFile(worksIn, dir) {
			_ = reap.Child(child, loaderEndLimit) // one that hangs is reaped with the host
		}
	}
}

// startLoaderAndHandOver starts the loader, hands over CRIU's socket and the order, and
// begins to read the loader's reports. It closes the memory, which the loader reads itself.
// If the loader can't be started the loading has failed.
func (c *loaderClient) startLoaderAndHandOver(criu *net.UnixListener) error {
	defer func() {
		_ = c.memory.Close() // it was only read from
		c.memory = nil
	}()
	if err := c.startLoaderProcess(); err != nil {
		c.err = fmt.Errorf("cannot start the process that loads the memory: %w", err)
		close(c.done)
		return c.err
	}
	go c.readReportsUntilEnd()
	socket, err := criu.File()
	if err != nil {
		return err
	}
	err = unixsock.SendDescriptor(c.conn, int(socket.Fd()))
	return errors.Join(err, socket.Close(), c.sendToLoader(c.order))
}

// startLoaderProcess starts the loader process with the descriptors that RunLoader expects,
// and creates the socket by which other hosts find it. The socket is named after the PID, so
// it gets its final name last. After an error no loader runs.
func (c *loaderClient) startLoaderProcess() error {
	text, pages, err := c.memory.HandOver()
	if err != nil {
		return err
	}
	c.order.Memory, c.order.Pages = text, len(pages)
	imageDir, err := os.Open(c.imageDir)
	if err != nil {
		return err
	}
	defer imageDir.Close()
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	unnamed := filepath.Join(c.dir, "new")
	socket, err := unixsock.BindWithoutListening(unnamed)
	if err != nil {
		return err
	}
	defer socket.Close()
	ours, theirs, err := unixsock.Pair(unix.SOCK_STREAM)
	if err != nil {
		return errors.Join(err, os.Remove(unnamed))
	}
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", LoaderVerb, c.dir)
	cmd.Args[0], cmd.Dir = os.Args[0], c.dir
	cmd.ExtraFiles = append([]*os.File{theirs, socket, imageDir}, pages...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // so that no signal from the terminal reaches it
	if err := cmd.Start(); err != nil {
		return errors.Join(err, ours.Close(), os.Remove(unnamed))
	}
	path := filepath.Join(c.dir, strconv.Itoa(cmd.Process.Pid))
	err = os.Rename(unnamed, path)
	if err == nil {
		err = c.openPidfdAndSetLoader(ours, path, cmd.Process.Pid)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
		return errors.Join(err, ours.Close())
	}
	return cmd.Process.Release()
}
