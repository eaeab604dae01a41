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
)

// What a loader has from its start, besides the page files, see startLoader.
const (
	loadControl = 3 + iota // the connection to whoever has started it
	loadSocket             // where others will find it
	loadImages             // the directory of the image
	loadPages
)

// pulse is the time between two reports of progress.
const pulse = 50 * time.Millisecond

// load is the work of a loader.
type load struct {
	*pager
	programs string

	mu    sync.Mutex // guards what follows
	hosts map[*net.UnixConn]bool
	said  report
}

// Load brings memory in until all is there or the tree has ended, see LoaderVerb.
// If the memory can't be had it waits for the end of the tree: a host must kill
// it. Open returns the memory that was moved here.
func Load(open func(json.RawMessage, []*os.File) (hibernate.Memory, error)) error {
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return err
	}
	_ = os.WriteFile("/proc/self/comm", []byte(loaderName), 0) // for who looks at processes
	// Who ends all processes of a service ends the plugin first, which may need
	// memory to end in order.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	host, err := unixConn(loadControl)
	if err != nil {
		return err
	}
	defer host.Close()
	listener, err := receiveListener(host)
	if err != nil {
		return err
	}
	commands := json.NewDecoder(host)
	var o order
	if err := commands.Decode(&o); err != nil {
		return err
	}
	l := &load{programs: o.Programs, hosts: map[*net.UnixConn]bool{host: true}}
	if l.pager, err = begin(o, open); err != nil {
		l.say(failure(err))
		return err
	}
	defer l.Close()
	failpoint.Hit("load.begun")
	go l.watch()
	attended := make(chan error, 1)
	go func() { attended <- l.accept(context.Background(), listener) }()
	root, err := l.prepare(commands, attended)
	if err != nil || root < 0 { // nobody waits for memory yet
		return err
	}
	defer func() { _ = unix.Close(root) }()
	go l.listen(host, commands)
	failpoint.Hit("load.confirmed")
	return l.last(root)
}

// begin starts the loading of an order.
func begin(o order, open func(json.RawMessage, []*os.File) (hibernate.Memory, error)) (*pager, error) {
	var pages []*os.File
	for n := range o.Pages {
		pages = append(pages, os.NewFile(uintptr(loadPages+n), "pages"))
	}
	m, err := open(o.Memory, pages)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(loadImages, "images")
	layout, err := images.ReadLayout(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	err = errors.Join(err, dir.Close())
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return newPager(layout, m, Timing{o.Quiet, o.Patience})
}

// prepare returns when a host wants to know whether all is right so far, with a
// pidfd of the tree, less than 0 when there is nothing to load for.
func (l *load) prepare(commands *json.Decoder, attended <-chan error) (int, error) {
	var c command
	if err := commands.Decode(&c); err != nil {
		return -1, err // the host is gone, and the tree not yet alive
	}
	root := -1
	err := <-l.verified
	if c.Root != 0 {
		err = errors.Join(err, <-attended)
		if err == nil {
			err = l.guard.start(l.programs, c.Root)
		}
		if err == nil {
			root, err = unix.PidfdOpen(c.Root, 0)
		}
	}
	if err == nil {
		err = unix.Listen(loadSocket, unix.SOMAXCONN)
	}
	if err != nil {
		l.say(failure(err))
		return -1, errors.Join(err, commands.Decode(&c)) // until the host has read it
	}
	done, total := l.Progress()
	l.say(report{Loaded: done, Total: total, Confirmed: true})
	if root < 0 {
		return -1, commands.Decode(&c)
	}
	return root, nil
}

// listen does what hosts tell, the first and those who come after it.
func (l *load) listen(first *net.UnixConn, commands *json.Decoder) {
	go l.obey(first, commands)
	listener, err := unixListener(loadSocket)
	for err == nil {
		var host *net.UnixConn
		if host, err = listener.AcceptUnix(); err != nil {
			return
		}
		l.mu.Lock()
		l.hosts[host] = true
		l.mu.Unlock()
		l.again()
		go l.obey(host, json.NewDecoder(host))
	}
}

func (l *load) obey(host *net.UnixConn, commands *json.Decoder) {
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

// watch reports how far it is until it is over, and a failure at once: CRIU would
// wait for its memory.
func (l *load) watch() {
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			done, total := l.Progress()
			l.say(report{Loaded: done, Total: total})
		case <-l.Done():
			if err := l.Err(); err != nil {
				l.say(failure(err))
			}
			return
		}
	}
}

// last returns when all is loaded or the tree below the pidfd has ended.
func (l *load) last(root int) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		poll := []unix.PollFd{{Fd: int32(root), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(poll, -1); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	select {
	case <-ended:
	case <-l.Done():
		if l.Err() != nil {
			<-ended // until then it must not read anything else
			return l.Err()
		}
		_ = os.Remove(strconv.Itoa(os.Getpid())) // in its directory, which may be gone with the tree
	}
	done, total := l.Progress()
	l.say(report{Loaded: done, Total: total, Done: true})
	return nil
}

// say tells all hosts something new.
func (l *load) say(r report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.said.Failure != "" || l.said == r {
		return
	}
	l.said = r
	l.spread()
}

// again tells all hosts what was said last.
func (l *load) again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spread()
}

// spread may wait for a host that does not read, which keeps no memory back. The
// caller holds mu.
func (l *load) spread() {
	for host := range l.hosts {
		if json.NewEncoder(host).Encode(l.said) != nil {
			delete(l.hosts, host)
			_ = host.Close()
		}
	}
}

func failure(err error) report {
	return report{Failure: err.Error(), Refused: errors.Is(err, hibernate.ErrRefused)}
}

// receiveListener is CRIU's socket, which comes before the order.
func receiveListener(host *net.UnixConn) (*net.UnixListener, error) {
	fd, err := receiveFD(host)
	if err != nil {
		return nil, fmt.Errorf("cannot take CRIU's socket over: %w", err)
	}
	return unixListener(uintptr(fd))
}
