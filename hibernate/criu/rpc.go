package criu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
	"dormouse/internal/unixsock"
)

// criuProcess is a CRIU ("criu swrk") that carries out one request, and the connection
// to it. The messages are those of CRIU's RPC, see https://criu.org/RPC.
type criuProcess struct {
	cmd      *exec.Cmd
	conn     *net.UnixConn // each packet is one message
	answered bool          // CRIU has answered the request, and ends by itself
	ended    chan struct{} // closed when CRIU is reaped
}

// The descriptors that CRIU is started with, besides the standard ones.
const (
	socketFD = 3 + iota
	passedFD // the first of the files that startCRIU passes on
)

const (
	// maxMessage is the size in bytes that no message of CRIU's exceeds.
	maxMessage = 8 << 10
	// exitLimit is how long CRIU may take to end after its answer.
	exitLimit = 10 * time.Second
)

// startCRIU starts the CRIU at path, with files as its descriptors from passedFD on.
// CRIU, and so all that CRIU restores, is born in the cgroup, or for "" in that of this
// process.
func startCRIU(path string, group cgroup.Dir, files []*os.File) (*criuProcess, error) {
	conn, theirs, err := unixsock.Pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(path, "swrk", strconv.Itoa(socketFD))
	cmd.ExtraFiles = append([]*os.File{theirs}, files...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if group != "" {
		dir, err := os.Open(string(group))
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if err := startWithRaisedFileLimit(cmd); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c := &criuProcess{cmd: cmd, conn: conn, ended: make(chan struct{})}
	go c.awaitEndAndReap()
	return c, nil
}

// awaitEndAndReap waits for the end of CRIU, reaps CRIU and closes c.ended. From then on a
// read returns the messages that CRIU has sent and then io.EOF, even while a half-made tree
// holds CRIU's end of the connection.
func (c *criuProcess) awaitEndAndReap() {
	_ = c.cmd.Wait() // the exit status says less than the answer
	_ = c.conn.CloseRead()
	close(c.ended)
}

// sendAndAwaitAnswer sends the request and returns CRIU's answer, or an error if CRIU reports
// a failure or ctx ends. It calls notify, unless that is nil, with each notification before
// the answer; CRIU waits for the return of notify. CRIU serves one request: after it the
// caller must call endOrKillAndWait.
func (c *criuProcess) sendAndAwaitAnswer(ctx context.Context, req *rpc.CriuReq, notify func(*rpc.CriuNotify)) (*rpc.CriuResp, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for next := req; ; {
		resp, err := c.exchangeMessages(next)
		if err != nil {
			return nil, err
		}
		if resp.GetType() == rpc.CriuReqType_NOTIFY && resp.GetSuccess() {
			if notify != nil {
				notify(resp.GetNotify())
			}
			next = &rpc.CriuReq{Type: rpc.CriuReqType_NOTIFY.Enum(), NotifySuccess: new(true)}
			continue
		}
		c.answered = true
		switch {
		case !resp.GetSuccess():
			return nil, fmt.Errorf("CRIU failed with errno %d: %s", resp.GetCrErrno(), resp.GetCrErrmsg())
		case resp.GetType() != req.GetType():
			return nil, fmt.Errorf("CRIU answered %s to %s", resp.GetType(), req.GetType())
		}
		return resp, nil
	}
}

// exchangeMessages sends one message to CRIU and returns CRIU's next message.
func (c *criuProcess) exchangeMessages(req *rpc.CriuReq) (*rpc.CriuResp, error) {
	text, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(text); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		return nil, fmt.Errorf("cannot ask CRIU: %w", err)
	}
	answer := make([]byte, maxMessage)
	n, err := c.conn.Read(answer)
	if errors.Is(err, syscall.ECONNRESET) { // CRIU ended without reading; what it sent comes after this error
		n, err = c.conn.Read(answer)
	}
	if errors.Is(err, io.EOF) {
		return nil, errors.New("CRIU ended without an answer")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read CRIU's answer: %w", err)
	}
	resp := &rpc.CriuResp{}
	return resp, proto.Unmarshal(answer[:n], resp)
}

// endOrKillAndWait returns when CRIU has ended. It kills a CRIU that has not answered, or
// that does not end within exitLimit.
func (c *criuProcess) endOrKillAndWait() {
	_ = c.conn.Close()
	if !c.answered {
		c.killWithHelpers()
	}
	late := time.AfterFunc(exitLimit, c.killWithHelpers)
	defer late.Stop()
	<-c.ended
}

// killWithHelpers kills CRIU and the helpers that CRIU has forked, unless CRIU is reaped
// already. It stops them first, since a stopped process cannot fork. It does not wait for
// their end.
func (c *criuProcess) killWithHelpers() {
	if c.cmd.Process.Signal(syscall.SIGSTOP) != nil {
		return // CRIU is reaped: its PID may belong to another process by now
	}
	pid := c.cmd.Process.Pid
	tree := []int{}
	for now := []int{pid}; len(now) > len(tree); now = procfs.Tree(pid) {
		tree = now
		signalAll(tree, syscall.SIGSTOP)
	}
	signalAll(tree, syscall.SIGKILL)
}

// signalAll sends the signal to each process that still exists.
func signalAll(pids []int, s syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, s)
	}
}
