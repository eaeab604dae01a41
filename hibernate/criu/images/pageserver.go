package images

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"dormouse/internal/unixsock"
)

// Commands that CRIU sends to a page server, in the lower half of a word whose upper half
// has the flags of a page map's entry: from its criu/page-xfer.c.
const (
	serverOpen  = 4
	serverAdd   = 6
	serverClose = 0x1024
)

// request is one message of CRIU to its page server, without the memory that follows.
type request struct {
	command, flags           uint16
	pages, address, memoryID uint64
}

// PageServer receives the memory that CRIU dumps, by the protocol in which CRIU sends it
// to another machine. It stores the contents in page files of the caller and writes the
// page maps. CRIU waits if it sends faster than the memory can be stored.
type PageServer struct {
	conn       *net.UnixConn
	criuEnd    *os.File
	in         *bufio.Reader
	dir        string // of the page maps
	createFile func(name string) (io.WriteCloser, error)
	ended      chan struct{}
	err        error // set before ended is closed

	before42 bool   // requests have the layout of CRIU before 4.2
	files    int    // page files created so far
	memoryID uint64 // names the memory that is being received
	pages    io.WriteCloser
	pageMap  *pageMapWriter
}

// StartPageServer starts a page server for one dump. It writes page maps into pageMapDir, and
// memory into the files that createPageFile returns. The caller must close the server.
func StartPageServer(pageMapDir string, createPageFile func(name string) (io.WriteCloser, error)) (*PageServer, error) {
	conn, criuEnd, err := unixsock.Pair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	s := &PageServer{conn: conn, criuEnd: criuEnd, in: bufio.NewReaderSize(conn, 64<<10), dir: pageMapDir, createFile: createPageFile, ended: make(chan struct{})}
	go s.runServer()
	return s, nil
}

// CRIUEnd returns CRIU's end of the connection, which Close closes.
func (s *PageServer) CRIUEnd() *os.File { return s.criuEnd }

// Close ends the server and waits for it. The error says why memory could not be stored;
// it is nil when CRIU has not sent everything, which CRIU reports itself.
func (s *PageServer) Close() error {
	_ = s.criuEnd.Close()
	_ = s.conn.Close()
	<-s.ended
	return s.err
}

// runServer is the goroutine of the server. It sets s.err, unless CRIU has hung up, and closes
// the files and the connection.
func (s *PageServer) runServer() {
	defer close(s.ended)
	if err := s.serveRequests(); !isDisconnect(err) {
		s.err = err
	}
	_ = s.closeMemoryFiles() // after an error the files are of no use
	_ = s.conn.Close()       // a CRIU that sends more gets an error
}

// serveRequests returns nil when CRIU has sent everything, or an error when CRIU has hung
// up or memory cannot be stored.
func (s *PageServer) serveRequests() error {
	for {
		r, err := s.readRequest()
		if err != nil {
			return err
		}
		switch r.command {
		case serverOpen:
			err = s.switchMemoryFilesAndAnswer(r.memoryID)
		case serverAdd:
			err = s.storeMemoryRegion(r)
		case serverClose:
			if err = s.closeMemoryFiles(); err == nil {
				_, err = s.conn.Write(make([]byte, 4)) // 0: no error
			}
			return err
		default:
			err = fmt.Errorf("CRIU asks for something unknown, %d", r.command)
		}
		if err != nil {
			return err
		}
	}
}

// isDisconnect reports whether the error means that the connection has ended.
func isDisconnect(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// readRequest reads a command and three numbers, in the layout of CRIU's C structure. In
// CRIU before 4.2 the first number has 32 bits and follows the command at once.
func (s *PageServer) readRequest() (request, error) {
	var text [32]byte
	head := text[:24]
	if _, err := io.ReadFull(s.in, head); err != nil {
		return request{}, err
	}
	order := binary.NativeEndian
	if s.files == 0 { // the first request opens an image, and its other numbers are 0
		s.before42 = order.Uint64(text[16:]) != 0
	}
	command := order.Uint32(text[:])
	r := request{command: uint16(command), flags: uint16(command >> 16)}
	if s.before42 {
		r.pages, r.address, r.memoryID = uint64(order.Uint32(text[4:])), order.Uint64(text[8:]), order.Uint64(text[16:])
		return r, nil
	}
	_, err := io.ReadFull(s.in, text[24:])
	r.pages, r.address, r.memoryID = order.Uint64(text[8:]), order.Uint64(text[16:]), order.Uint64(text[24:])
	return r, err
}

// switchMemoryFilesAndAnswer closes the open page file and page map, creates those for the
// memory with CRIU's number memoryID, of a process or shared, and answers CRIU.
func (s *PageServer) switchMemoryFilesAndAnswer(memoryID uint64) error {
	if err := s.closeMemoryFiles(); err != nil {
		return err
	}
	s.files++
	pages, err := s.createFile(fmt.Sprintf("pages-%d.img", s.files))
	if err != nil {
		return err
	}
	m, err := createPageMap(s.dir, memoryID, s.files)
	if err != nil {
		return errors.Join(err, pages.Close())
	}
	s.memoryID, s.pages, s.pageMap = memoryID, pages, m
	_, err = s.conn.Write([]byte{0}) // 0: no parent image
	return err
}

// storeMemoryRegion adds the region to the page map, and reads its pages from CRIU into the
// page file, if CRIU sends any. The region must be of the memory whose files are open.
func (s *PageServer) storeMemoryRegion(r request) error {
	if s.pages == nil || r.memoryID != s.memoryID {
		return fmt.Errorf("CRIU sends memory of image %#x, open is %#x", r.memoryID, s.memoryID)
	}
	s.pageMap.addRegion(r.address, r.pages, r.flags)
	if r.flags&pagePresent == 0 {
		return nil
	}
	_, err := io.CopyN(s.pages, s.in, int64(r.pages)*int64(os.Getpagesize()))
	return err
}

// closeMemoryFiles closes the page file and the page map, if they are open.
func (s *PageServer) closeMemoryFiles() error {
	if s.pages == nil {
		return nil
	}
	err := errors.Join(s.pages.Close(), s.pageMap.flushAndClose())
	s.pages = nil
	return err
}
