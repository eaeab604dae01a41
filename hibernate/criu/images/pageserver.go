package images

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// What CRIU asks of a server, in the lower half of a command; the upper one has the
// flags of a page map's entry. See its page-xfer.c.
const (
	serverOpen  = 4
	serverAdd   = 6
	serverClose = 0x1024
)

// request is one of CRIU's.
type request struct {
	command, flags        uint16
	pages, address, image uint64
}

// PageServer takes the memory that CRIU dumps, by the protocol in which CRIU sends
// it to another machine. CRIU waits when it can't be stored as fast as it comes.
type PageServer struct {
	near, far *os.File
	in        *bufio.Reader
	dir       string // of the page maps
	create    func(name string) (io.WriteCloser, error)
	ended     chan struct{}
	err       error // after ended

	narrow  bool // the requests are those of a CRIU before 4.2
	begun   int  // page files so far
	current uint64
	pages   io.WriteCloser
	pageMap *pageMapWriter
}

// ServePages begins to serve. The server must be ended.
func ServePages(dir string, create func(name string) (io.WriteCloser, error)) (*PageServer, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	_ = unix.SetNonblock(pair[0], true) // so that to close it ends a read
	s := &PageServer{
		near: os.NewFile(uintptr(pair[0]), "page server"), far: os.NewFile(uintptr(pair[1]), "page client"),
		dir: dir, create: create, ended: make(chan struct{}),
	}
	s.in = bufio.NewReaderSize(s.near, 64<<10)
	go s.run()
	return s, nil
}

// ClientEnd is the end of the connection that CRIU gets.
func (s *PageServer) ClientEnd() *os.File { return s.far }

// Close returns when nothing is served any more, which is now or when CRIU said so. The
// error is why the memory could not be stored.
func (s *PageServer) Close() error {
	_ = s.far.Close()
	_ = s.near.Close()
	<-s.ended
	return s.err
}

func (s *PageServer) run() {
	defer close(s.ended)
	s.err = s.serve()
	_ = s.finish()     // what is open stays as it is
	_ = s.near.Close() // if CRIU has more to say it fails
}

// serve returns when CRIU has told all or says no more; why, CRIU itself reports.
func (s *PageServer) serve() error {
	for {
		r, err := s.receive()
		switch {
		case cut(err):
			return nil
		case err != nil:
			return err
		}
		switch r.command {
		case serverOpen:
			err = s.open(r.image)
		case serverAdd:
			err = s.add(r)
		case serverClose:
			if err = s.finish(); err == nil {
				_, err = s.near.Write(make([]byte, 4)) // no error
			}
			return err
		default:
			err = fmt.Errorf("CRIU asks for something unknown, %d", r.command)
		}
		if cut(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// cut tells that the connection has ended.
func cut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// receive reads a request: a command and three numbers as the C compiler lays them
// out. A CRIU before 4.2 has but 32 bits for the first of these, right after the
// command.
func (s *PageServer) receive() (request, error) {
	var text [32]byte
	head := text[:24]
	if _, err := io.ReadFull(s.in, head); err != nil {
		return request{}, err
	}
	order := binary.NativeEndian
	if s.begun == 0 { // what opens an image names nothing else
		s.narrow = order.Uint64(text[16:]) != 0
	}
	command := order.Uint32(text[:])
	r := request{command: uint16(command), flags: uint16(command >> 16)}
	if s.narrow {
		r.pages, r.address, r.image = uint64(order.Uint32(text[4:])), order.Uint64(text[8:]), order.Uint64(text[16:])
		return r, nil
	}
	_, err := io.ReadFull(s.in, text[24:])
	r.pages, r.address, r.image = order.Uint64(text[8:]), order.Uint64(text[16:]), order.Uint64(text[24:])
	return r, err
}

// open begins the memory of a task, or memory that tasks share.
func (s *PageServer) open(image uint64) error {
	if err := s.finish(); err != nil {
		return err
	}
	s.begun++
	pages, err := s.create(fmt.Sprintf("pages-%d.img", s.begun))
	if err != nil {
		return err
	}
	m, err := newPageMap(s.dir, image, s.begun)
	if err != nil {
		return errors.Join(err, pages.Close())
	}
	s.current, s.pages, s.pageMap = image, pages, m
	_, err = s.near.Write([]byte{0}) // there is no image before this one
	return err
}

// add takes the pages of a region.
func (s *PageServer) add(r request) error {
	if s.pages == nil || r.image != s.current {
		return fmt.Errorf("CRIU sends memory of image %#x, open is %#x", r.image, s.current)
	}
	s.pageMap.add(r.address, r.pages, r.flags)
	if r.flags&pagePresent == 0 {
		return nil
	}
	_, err := io.CopyN(s.pages, s.in, int64(r.pages)*int64(os.Getpagesize()))
	return err
}

// finish completes what is open.
func (s *PageServer) finish() error {
	if s.pages == nil {
		return nil
	}
	err := errors.Join(s.pages.Close(), s.pageMap.close())
	s.pages = nil
	return err
}
