package pager

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
)

// Attend has the loader take over the address spaces that CRIU makes while restore
// runs. Both take about as long to begin.
func (l *loader) Attend(_ context.Context, workDir int32, restore func() error) error {
	listener, err := listenCRIU(workDir)
	if err != nil {
		return err
	}
	defer listener.Close()
	started := make(chan error, 1)
	go func() { started <- l.start(listener) }()
	err = restore()
	return errors.Join(err, <-started)
}

// Confirm returns when the loader goes on by itself, see command.
func (l *loader) Confirm(ctx context.Context, _ string, root int) error {
	if l.conn == nil {
		return l.Err()
	}
	if err := l.tell(command{Confirm: true, Root: root}); err != nil {
		return errors.Join(err, l.Err())
	}
	select {
	case <-l.confirmed:
		return nil
	case <-l.done:
	case <-ctx.Done():
		return fmt.Errorf("the process that loads the memory does not answer: %w", ctx.Err())
	}
	select {
	case <-l.confirmed: // and all is in by now
		return nil
	default:
		return cmp.Or(l.err, errLoaderGone)
	}
}

func (l *loader) tell(what any) error { return json.NewEncoder(l.conn).Encode(what) }

// follow notes what the loader reports until there is nothing more to say.
func (l *loader) follow() {
	defer close(l.done)
	reports := json.NewDecoder(l.conn)
	for {
		var r report
		err := reports.Decode(&r)
		switch {
		case l.leaving.Load():
			return
		case err != nil:
			if _, err := os.Lstat(l.path); err == nil { // or all is in
				l.err = errLoaderGone
			}
			return
		case r.Failure != "":
			l.err = &remoteError{r.Failure, r.Refused}
			return
		}
		l.loaded.Store(r.Loaded)
		l.total.Store(r.Total)
		if r.Done {
			return
		}
		if r.Confirmed {
			select {
			case <-l.confirmed:
			default:
				close(l.confirmed)
			}
		}
	}
}

// Done is closed when nothing more is loaded, see hibernate.Loading.
func (l *loader) Done() <-chan struct{} { return l.done }

// Err is why the loading failed, see hibernate.Loading.
func (l *loader) Err() error {
	select {
	case <-l.done:
		return l.err
	default:
		return nil
	}
}

// Progress counts bytes, see hibernate.Loading.
func (l *loader) Progress() (done, total int64) { return l.loaded.Load(), l.total.Load() }

// Hurry ends all patience, see hibernate.Loading.
func (l *loader) Hurry() { _ = l.tell(command{Hurry: true}) } // follow finds out if it is gone

// Leave lets the other process go on alone, see hibernate.Loading.
func (l *loader) Leave() {
	l.closing.Do(func() {
		l.leaving.Store(true)
		l.part()
	})
}

// Close ends the other process, see hibernate.Loading.
func (l *loader) Close() {
	l.closing.Do(func() {
		if l.memory != nil {
			_ = l.memory.Close()
		}
		if l.conn == nil {
			return
		}
		_ = unix.PidfdSendSignal(l.pidfd, unix.SIGKILL, nil, 0) // it may have ended
		poll := []unix.PollFd{{Fd: int32(l.pidfd), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(poll, -1); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		_ = unix.Waitid(unix.P_PIDFD, l.pidfd, nil, unix.WEXITED, nil) // if it is a child
		l.part()
		_ = os.Remove(l.path) // it is gone if all is in
		collect()
	})
}

func (l *loader) part() {
	_ = l.conn.Close()
	<-l.done
	_ = unix.Close(l.pidfd)
}

// remoteError is a failure as the loader tells it.
type remoteError struct {
	text    string
	refused bool
}

func (e *remoteError) Error() string        { return e.text }
func (e *remoteError) Is(target error) bool { return e.refused && target == hibernate.ErrRefused }
