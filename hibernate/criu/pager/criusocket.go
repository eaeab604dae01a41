package pager

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"dormouse/internal/uffd"
	"dormouse/internal/unixsock"
)

// In a lazy restore CRIU connects to lazySocket in its working directory. It sends the
// number of each process, as in the image, followed by the userfaultfd of the process
// (for a zombie the negated number and no descriptor), and finally lazyFinished. See
// CRIU's criu/uffd.c.
const (
	lazySocket   = "lazy-pages.socket"
	lazyFinished = 0x52535446
)

// listenForCRIU creates lazySocket in CRIU's working directory, given as a descriptor.
func listenForCRIU(workDirFD int32) (*net.UnixListener, error) {
	return unixsock.ListenIn(int(workDirFD), lazySocket)
}

// receiveSpacesAndCloseListener takes over all address spaces from CRIU, which connects once,
// and closes the listener. It returns an error if ctx ends before CRIU has sent lazyFinished.
func (p *localPager) receiveSpacesAndCloseListener(ctx context.Context, listener *net.UnixListener) error {
	defer listener.Close()
	stop := context.AfterFunc(ctx, func() { _ = listener.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := listener.AcceptUnix()
	if err != nil {
		return fmt.Errorf("CRIU did not hand memory over: %w", err)
	}
	defer conn.Close()
	stop = context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	word := make([]byte, 4)
	for {
		if _, err := io.ReadFull(conn, word); err != nil {
			return fmt.Errorf("CRIU ended before all memory was handed over: %w", err)
		}
		switch number := int32(binary.NativeEndian.Uint32(word)); {
		case number == lazyFinished:
			p.setAllAdded()
			return nil
		case number < 0: // a zombie
			continue
		default:
			fd, err := unixsock.ReceiveDescriptor(conn)
			if err != nil {
				return fmt.Errorf("cannot take over the memory of process %d: %w", number, err)
			}
			if err := p.addAddressSpace(int(number), uffd.FD(fd)); err != nil {
				return err
			}
		}
	}
}
