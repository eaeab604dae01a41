package pager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/images"
	"dormouse/internal/failpoint"
	"dormouse/internal/unixsock"
)

// The descriptors that a loader is started with, see loaderClient.startLoaderProcess.
const (
	hostFD   = 3 + iota // the connection to the host that started the loader
	socketFD            // the socket on which later hosts find the loader
	imagesFD            // the directory of the image
	pagesFD             // the first of the page files
)

// progressInterval is the time between two reports of progress.
const progressInterval = 50 * time.Millisecond

// loader is the state of a loader process: a localPager that reports to hosts.
type loader struct {
	*localPager

	mu    sync.Mutex // guards the fields below
	hosts map[*net.UnixConn]bool
	last  report // sent to the hosts
}

// RunLoader is the main function of a loader, see LoaderVerb. It loads memory until all
// is loaded or the tree has ended. If memory cannot be read, it waits until a host has
// killed the tree. receiveMemory returns the memory from what HandOver of
// hibernate.Memory returned, see hibernate.ReceiveMemory.
func RunLoader(receiveMemory func(json.RawMessage, []*os.File) (hibernate.Memory, error)) error {
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return err
	}
	_ = os.WriteFile("/proc/self/comm", []byte(loaderName), 0) // for IsLoader
	// A service manager may signal all processes of the service, the plugin as well. The
	// plugin may need its memory for an orderly end.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	host, err := unixsock.TakeConnFromFD(hostFD)
	if err != nil {
		return err
	}
	defer host.Close()
	listener, err := receiveCRIUSocket(host)
	if err != nil {
		return err
	}
	commands := json.NewDecoder(host)
	var order loadOrder
	if err := commands.Decode(&order); err != nil {
		return err
	}
	l := &loader{hosts: map[*net.UnixConn]bool{host: true}}
	if l.localPager, err = startPagerForOrder(order, receiveMemory); err != nil {
		l.sendReportIfNew(failureReport(err))
		return err
	}
	defer l.Close()
	failpoint.Hit("load.begun")
	go l.reportProgressUntilDone()
	received := make(chan error, 1)
	go func() { received <- l.receiveSpacesAndCloseListener(context.Background(), listener) }()
	rootPIDFD, err := l.awaitConfirmAndAnswer(commands, received)
	if err != nil || rootPIDFD < 0 { // no tree has started to run
		return err
	}
	defer func() { _ = unix.Close(rootPIDFD) }()
	go l.obeyAndAcceptHosts(host, commands)
	failpoint.Hit("load.confirmed")
	return l.awaitLoadedOrTreeEnd(rootPIDFD)
}

// startPagerForOrder starts the pager that the host has ordered, with the page files and the
// image directory that the loader was started with. receiveMemory is as in
// RunLoader.
func startPagerForOrder(order loadOrder, receiveMemory func(json.RawMessage, []*os.File) (hibernate.Memory, error)) (*localPager, error) {
	var pages []*os.File
	for n := range order.Pages {
		pages = append(pages, os.NewFile(uintptr(pagesFD+n), "pages"))
	}
	m, err := receiveMemory(order.Memory, pages)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(imagesFD, "images")
	layout, err := images.ReadLayout(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	err = errors.Join(err, dir.Close())
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return startLocalPager(layout, m, order.Programs, Timing{order.Quiet, order.Patience})
}

// awaitConfirmAndAnswer waits for the host's Confirm, for the verified memory and for all
// address spaces, and sends the answer. From then on the loader does not need the host: the
// holder runs, and later hosts can connect. awaitConfirmAndAnswer returns a pidfd of the
// tree's root, or -1 if the restore has failed. spacesReceived delivers the result of
// receiveSpacesAndCloseListener.
func (l *loader) awaitConfirmAndAnswer(commands *json.Decoder, spacesReceived <-chan error) (rootPIDFD int, err error) {
	var c command
	if err := commands.Decode(&c); err != nil {
		return -1, err // the host has ended, and no tree runs yet
	}
	rootPIDFD = -1
	err = <-l.verified
	if c.Root != 0 {
		err = errors.Join(err, <-spacesReceived)
		if err == nil {
			err = l.holder.startProcessUnlessStopped(c.Root)
		}
		if err == nil {
			rootPIDFD, err = unix.PidfdOpen(c.Root, 0)
		}
	}
	if err == nil {
		err = unix.Listen(socketFD, unix.SOMAXCONN)
	}
	if err != nil {
		l.sendReportIfNew(failureReport(err))
		return -1, errors.Join(err, commands.Decode(&c)) // waits until the host has read the report
	}
	r := progressReport(l)
	r.Confirmed = true
	l.sendReportIfNew(r)
	if rootPIDFD < 0 {
		return -1, commands.Decode(&c)
	}
	return rootPIDFD, nil
}

// obeyAndAcceptHosts carries out the commands of the first host, and of each later host that
// connects, to which it sends the last report. It returns only if the loader's socket fails.
func (l *loader) obeyAndAcceptHosts(firstHost *net.UnixConn, commands *json.Decoder) {
	go l.obeyCommandsUntilHangup(firstHost, commands)
	listener, err := unixsock.TakeListenerFromFD(socketFD)
	for err == nil {
		var host *net.UnixConn
		if host, err = listener.AcceptUnix(); err != nil {
			return
		}
		l.mu.Lock()
		l.hosts[host] = true
		l.sendLastReport()
		l.mu.Unlock()
		go l.obeyCommandsUntilHangup(host, json.NewDecoder(host))
	}
}

// obeyCommandsUntilHangup carries out a host's commands until the host hangs up.
func (l *loader) obeyCommandsUntilHangup(host *net.UnixConn, commands *json.Decoder) {
	for {
		var c command
		if err := commands.Decode(&c); err != nil {
			l.mu.Lock()
			delete(l.hosts, host)
			l.mu.Unlock()
			_ = host.Close()
			return
		}
		if c.Hurry {
			l.Hurry()
		}
	}
}

// reportProgressUntilDone sends the hosts reports of progress until the loading is over, and a
// failure at once: otherwise CRIU would wait for its memory.
func (l *loader) reportProgressUntilDone() {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.sendReportIfNew(progressReport(l))
		case <-l.Done():
			if err := l.Err(); err != nil {
				l.sendReportIfNew(failureReport(err))
			}
			return
		}
	}
}

// awaitLoadedOrTreeEnd returns when all memory is loaded, or the tree has ended, and sends
// the hosts the last report. When all memory is loaded it also removes the loader's socket.
// After a failure it waits for the end of the tree, and returns the failure.
func (l *loader) awaitLoadedOrTreeEnd(rootPIDFD int) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		waitReadable(rootPIDFD)
	}()
	select {
	case <-ended:
	case <-l.Done():
		if l.Err() != nil {
			<-ended // if the pager closed before, the tree would read zeros
			return l.Err()
		}
		_ = os.Remove(strconv.Itoa(os.Getpid())) // the socket; its directory may be gone with the tree
	}
	r := progressReport(l)
	r.Done = true
	l.sendReportIfNew(r)
	return nil
}

// sendReportIfNew makes the report the last one and sends it to all hosts, unless it equals
// the last report or follows a failure.
func (l *loader) sendReportIfNew(r report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.Failure != "" || l.last == r {
		return
	}
	l.last = r
	l.sendLastReport()
}

// sendLastReport sends the last report to all hosts, and drops those that it can't be sent
// to. It may wait for a host that does not read; the loading goes on meanwhile. The caller
// holds mu.
func (l *loader) sendLastReport() {
	for host := range l.hosts {
		if json.NewEncoder(host).Encode(l.last) != nil {
			delete(l.hosts, host)
			_ = host.Close()
		}
	}
}

// receiveCRIUSocket receives the socket to which CRIU will connect. The host sends it
// before the order.
func receiveCRIUSocket(host *net.UnixConn) (*net.UnixListener, error) {
	fd, err := unixsock.ReceiveDescriptor(host)
	if err != nil {
		return nil, fmt.Errorf("cannot take CRIU's socket over: %w", err)
	}
	return unixsock.TakeListenerFromFD(uintptr(fd))
}
