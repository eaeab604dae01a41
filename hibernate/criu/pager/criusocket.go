package pager

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/uffd"
)

// What CRIU says on its socket: a task's number in the image followed by its
// userfaultfd, a zombie's number negated, and a word that no number can be once
// all tasks are made.
const (
	lazySocket   = "lazy-pages.socket"
	lazyFinished = 0x52535446
)

// Attend takes over the address spaces that CRIU makes while restore runs.
func (p *pager) Attend(ctx context.Context, workDir int32, restore func() error) error {
	listener, err := listenCRIU(workDir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	attended := make(chan error, 1)
	go func() { attended <- p.accept(ctx, listener) }()
	err = restore()
	if err != nil {
		cancel()
	}
	aerr := <-attended
	cancel()
	return errors.Join(err, aerr)
}

// listenCRIU makes the socket that CRIU looks for.
func listenCRIU(workDir int32) (*net.UnixListener, error) {
	// The path through the descriptor is short enough for a socket.
	address := &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", workDir, lazySocket), Net: "unix"}
	return net.ListenUnix("unix", address)
}

// accept serves CRIU's one connection until all is handed over or ctx ends.
func (p *pager) accept(ctx context.Context, listener *net.UnixListener) error {
	defer listener.Close()
	settled := context.AfterFunc(ctx, func() { _ = listener.SetDeadline(time.Unix(1, 0)) })
	defer settled()
	conn, err := listener.AcceptUnix()
	if err != nil {
		return fmt.Errorf("CRIU did not hand memory over: %w", err)
	}
	defer conn.Close()
	settled = context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer settled()
	return p.receive(conn)
}

// receive reads from CRIU until it says that all tasks are made.
func (p *pager) receive(conn *net.UnixConn) error {
	word := make([]byte, 4)
	for {
		if _, err := io.ReadFull(conn, word); err != nil {
			return fmt.Errorf("CRIU ended before all memory was handed over: %w", err)
		}
		switch number := int32(binary.NativeEndian.Uint32(word)); {
		case number == lazyFinished:
			p.finish()
			return nil
		case number < 0:
			continue
		default:
			fd, err := receiveFD(conn)
			if err != nil {
				return fmt.Errorf("cannot take over the memory of task %d: %w", number, err)
			}
			if err := p.add(int(number), fd); err != nil {
				return err
			}
		}
	}
}

func receiveFD(conn *net.UnixConn) (uffd.FD, error) {
	data, control := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(data, control)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return -1, err
	}
	if len(messages) != 1 {
		return -1, errors.New("CRIU sent no descriptor")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.Join(errors.New("CRIU sent no descriptor"), err)
	}
	unix.CloseOnExec(fds[0])
	return uffd.FD(fds[0]), nil
}
