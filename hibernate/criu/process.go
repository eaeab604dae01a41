package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	gocriu "github.com/checkpoint-restore/go-criu/v7"
	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/internal/cgroup"
	"dormouse/internal/native"
	"dormouse/internal/procfs"
	"dormouse/internal/spawn"
)

// process is one CRIU that serves go-criu.
type process struct {
	rpc *gocriu.Criu
	pid int
	// ended is closed when it is reaped, if that is for us to do and not for
	// go-criu.
	ended chan struct{}
}

// handed is a file that a CRIU gets, and how it is told the descriptor.
type handed struct {
	file *os.File
	tell func(opts *rpc.CriuOpts, fd int32)
}

// inherited are files that CRIU gives to what it restores.
func inherited(files []hibernate.Inherited) []handed {
	all := make([]handed, len(files))
	for i, f := range files {
		all[i] = handed{f.File, func(opts *rpc.CriuOpts, fd int32) {
			opts.InheritFd = append(opts.InheritFd, &rpc.InheritFd{Key: &f.Key, Fd: &fd})
		}}
	}
	return all
}

// start runs CRIU, in the cgroup unless that is "", with the files as its
// descriptors, of which CRIU is to be told with opts.
func (e *Engine) start(work string, group cgroup.Dir, opts *rpc.CriuOpts, files []handed) (p *process, err error) {
	path := e.path
	if group != "" {
		if path, err = e.launcher(work, group); err != nil {
			return nil, err
		}
	}
	p = &process{rpc: gocriu.MakeCriu()}
	p.rpc.SetCriuPath(path)
	err = spawn.Exclusive(func() error {
		// go-criu passes no files on, so they are duplicated without close-on-exec
		// for just the moment of the start.
		for _, f := range files {
			// Each key needs a descriptor of its own, even for the same file.
			fd, err := syscall.Dup(int(f.file.Fd()))
			if err != nil {
				return err
			}
			defer func() { _ = syscall.Close(fd) }()
			f.tell(opts, int32(fd))
		}
		find := func() (int, error) { return launched(work) }
		if group == "" {
			find = newChild(procfs.Children(os.Getpid()))
		}
		if err := p.rpc.Prepare(); err != nil {
			return err
		}
		var err error
		p.pid, err = find()
		if err != nil {
			return errors.Join(err, p.rpc.Cleanup())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if group != "" {
		p.ended = make(chan struct{})
		go p.reap()
	}
	return p, nil
}

// kill ends CRIU in the middle of its work, with the helpers that it forked: as
// long as one of them holds the socket go-criu waits for an answer. They are
// stopped first, since a process that is to stop forks no more.
func (p *process) kill() {
	tree := []int{}
	for now := []int{p.pid}; len(now) > len(tree); now = procfs.Tree(p.pid) {
		tree = now
		signalAll(tree, syscall.SIGSTOP)
	}
	signalAll(tree, syscall.SIGKILL)
}

// helpers are what a CRIU that has ended may have left, any of which may hold its
// socket. They share this process's PID namespace, which no task of a plugin does.
func helpers(d hibernate.Dump) []int {
	own := procfs.Namespace(os.Getpid(), "pid")
	return slices.DeleteFunc(d.Cgroup.MembersOutside(d.PID), func(pid int) bool { return procfs.Namespace(pid, "pid") != own })
}

// signalAll ignores those that are gone.
func signalAll(pids []int, s syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, s)
	}
}

// reap collects the CRIU that the launcher made a child of this process.
func (p *process) reap() {
	defer close(p.ended)
	if child, err := os.FindProcess(p.pid); err == nil {
		_, _ = child.Wait()
	}
}

// end returns when CRIU has ended, now that nobody needs it any more. One that does
// not go when its socket is closed is killed.
func (p *process) end() {
	stuck := time.AfterFunc(10*grace, p.kill)
	defer stuck.Stop()
	_ = p.rpc.Cleanup()
	if p.ended != nil {
		<-p.ended
	}
}

// grace is how long an answer may take to arrive from a CRIU that has ended.
const grace = time.Second

// watch calls giveUp when ctx ends, after killing CRIU, and when CRIU has ended
// without an answer: go-criu would wait for one as long as what CRIU has made
// holds its socket. The returned function ends the watch, and tells whether ctx
// ended it.
func (p *process) watch(ctx context.Context, giveUp func()) (stop func() bool) {
	answered, over := make(chan struct{}), make(chan struct{})
	expired := false
	go func() {
		defer close(over)
		select {
		case <-answered:
			return
		case <-ctx.Done():
			expired = true
			p.kill()
		case <-p.ended:
			select {
			case <-answered:
				return
			case <-time.After(grace):
			}
		}
		giveUp()
	}()
	return func() bool {
		close(answered)
		<-over // or it would hit the next attempt
		return expired
	}
}

// launcher prepares work for native's incgroup, and returns the path that starts
// CRIU in the cgroup. go-criu starts a path, without attributes.
func (e *Engine) launcher(work string, group cgroup.Dir) (string, error) {
	program, err := native.InstallInCgroup(e.programs)
	if err != nil {
		return "", err
	}
	path := filepath.Join(work, "criu")
	return path, errors.Join(
		os.Symlink(program, path),
		os.Symlink(string(group), filepath.Join(work, "cgroup")),
		os.Symlink(e.path, filepath.Join(work, "program")),
	)
}

// startLimit is how long a CRIU may take to be seen, on a machine that has much
// else to do.
const startLimit = 10 * time.Second

// within tells whether done comes true before limit has passed.
func within(limit time.Duration, done func() bool) bool {
	late := time.Now().Add(limit)
	for !done() {
		if time.Now().After(late) {
			return false
		}
		pause()
	}
	return true
}

// launched returns the PID of the CRIU that the launcher started.
func launched(work string) (pid int, err error) {
	var text []byte
	if !within(startLimit, func() bool {
		text, err = os.ReadFile(filepath.Join(work, "pid"))
		return err == nil
	}) {
		return 0, errors.New("it was not started in the cgroup in time")
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		return 0, errors.New("it could not be started in the cgroup")
	}
	return pid, nil
}

// pause is shorter than the runtime's timers can be: they take a millisecond when
// nothing else is to be done.
func pause() { _ = unix.Nanosleep(&unix.Timespec{Nsec: 50_000}, nil) }

// newChild finds the PID of the child that is a CRIU and was none before: go-criu
// keeps it to itself. A process has no command line while it executes another
// program, as a wrapper script does, or is being restored.
func newChild(before []int) func() (int, error) {
	return func() (found int, err error) {
		within(startLimit, func() bool {
			unsure := false
			for _, child := range procfs.Children(os.Getpid()) {
				line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
				switch {
				case slices.Contains(before, child) || err != nil:
				case strings.Contains(string(line), "\x00swrk\x00"):
					found = child
					return true
				case len(line) == 0:
					unsure = unsure || !procfs.HasEnded(child)
				}
			}
			return !unsure
		})
		if found == 0 {
			return 0, errors.New("it is gone already")
		}
		return found, nil
	}
}
