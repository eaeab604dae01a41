package criu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// client is a CRIU process that carries out one request, and this process's end of
// the socket on which CRIU gets it ("criu swrk").
type client struct {
	cmd      *exec.Cmd
	conn     *net.UnixConn // SOCK_SEQPACKET: each packet is one message
	answered bool          // CRIU has said how the request went, and ends by itself
	ended    chan struct{} // closed when CRIU is reaped
}

// The descriptors that CRIU is started with, besides the standard ones.
const (
	socketFD = 3 + iota
	passedFD // the first of the files that startClient passes on
)

const (
	// maxMessage is more bytes than CRIU puts into a message.
	maxMessage = 8 << 10
	// exitLimit is how long CRIU may take to end after its answer.
	exitLimit = 10 * time.Second
)

// startClient starts the CRIU at path, with files as its descriptors from passedFD
// on. CRIU is born in the cgroup, or in that of this process for "", and so is all that
// CRIU restores.
func startClient(path string, group cgroup.Dir, files []*os.File) (*client, error) {
	conn, far, err := packetSocketPair()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	cmd := exec.Command(path, "swrk", strconv.Itoa(socketFD))
	cmd.ExtraFiles = append([]*os.File{far}, files...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if group != "" {
		dir, err := os.Open(string(group))
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		defer dir.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if err := startWithMostFiles(cmd); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c := &client{cmd: cmd, conn: conn, ended: make(chan struct{})}
	go c.reap()
	return c, nil
}

// reap waits for the end of CRIU. After that a read returns what CRIU has said and
// then io.EOF, although a half-made tree may still hold CRIU's end of the socket.
func (c *client) reap() {
	_ = c.cmd.Wait() // the exit status says less than the answer
	_ = c.conn.CloseRead()
	close(c.ended)
}

// request sends CRIU its request and returns CRIU's answer. It calls notify, unless
// that is nil, with each notification that comes before, and CRIU goes on after
// that. After an error close must be called before the work is tried again.
func (c *client) request(ctx context.Context, req *rpc.CriuReq, notify func(*rpc.CriuNotify)) (*rpc.CriuResp, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for next := req; ; {
		resp, err := c.exchange(next)
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

// exchange sends one message and returns the next one of CRIU's.
func (c *client) exchange(req *rpc.CriuReq) (*rpc.CriuResp, error) {
	text, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(text); err != nil && !errors.Is(err, syscall.EPIPE) {
		return nil, fmt.Errorf("cannot ask CRIU: %w", err)
	}
	answer := make([]byte, maxMessage)
	n, err := c.conn.Read(answer)
	if err != nil {
		return nil, fmt.Errorf("CRIU ended without an answer: %w", err)
	}
	resp := &rpc.CriuResp{}
	return resp, proto.Unmarshal(answer[:n], resp)
}

// close returns when CRIU has ended. A CRIU that has not answered is killed.
func (c *client) close() {
	_ = c.conn.Close()
	if !c.answered {
		c.kill()
	}
	late := time.AfterFunc(exitLimit, c.kill)
	defer late.Stop()
	<-c.ended
}

// kill ends CRIU and the helpers that CRIU has forked. They are stopped first,
// since a stopped process forks no more.
func (c *client) kill() {
	select {
	case <-c.ended: // the PID may be another's by now
		return
	default:
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

// startWithMostFiles starts cmd with its soft limit of open files raised to the hard
// one: CRIU may need more than the tree, and gets the limit with which this process
// was started. CRIU reads its limit as soon as it runs, so it is stopped at its first
// instruction until the limit is set, see ptrace(2).
func startWithMostFiles(cmd *exec.Cmd) error {
	runtime.LockOSThread() // only the thread that started a traced process can let it run
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	err := waitTraced(pid)
	if err == nil {
		var limit unix.Rlimit
		err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit)
		limit.Cur = limit.Max
		err = errors.Join(err, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil), unix.PtraceDetach(pid))
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return fmt.Errorf("cannot raise its limit of open files: %w", err)
	}
	return nil
}

// waitTraced returns when the process has stopped at its first instruction.
func waitTraced(pid int) error {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// packetSocketPair returns the two ends of a connection that keeps messages apart,
// the second for a process that is to be started.
func packetSocketPair() (*net.UnixConn, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	near, far := os.NewFile(uintptr(pair[0]), "CRIU"), os.NewFile(uintptr(pair[1]), "CRIU's end")
	defer near.Close() // a connection has a descriptor of its own
	conn, err := net.FileConn(near)
	if err != nil {
		return nil, nil, errors.Join(err, far.Close())
	}
	return conn.(*net.UnixConn), far, nil //nolint:forcetypeassert // the socket is a unix socket
}
