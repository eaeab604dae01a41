package criu

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"google.golang.org/protobuf/proto"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/images"
	"dormouse/hibernate/criu/obstacles"
	"dormouse/hibernate/criu/outside"
	"dormouse/internal/procfs"
)

// Dump implements hibernate.Engine. It waits for other dumps of trees that have the same
// current directories, in which CRIU makes a mountPoint.
func (e *Engine) Dump(ctx context.Context, d hibernate.DumpOrder) (err error) {
	cwds := treeCwds(d.PID)
	around, err := outside.BeginDump(ctx, procfs.Tree(d.PID), d.ID, cwds, e.HelperDir)
	if err != nil {
		return fmt.Errorf("cannot dump: %w", err)
	}
	defer func() {
		if err != nil {
			around.Undo(procfs.Tree(d.PID))
		}
	}()
	removeMountPoints(cwds)
	opts := commonOptions()
	opts.Pid = new(int32(d.PID))
	opts.LinkRemap = new(!d.Reusable) // a restore uses these links up
	if err := e.dumpImages(ctx, d, opts); err != nil {
		return fmt.Errorf("cannot dump: %w", err)
	}
	err = waitTreeStopped(ctx, d.PID)
	if err == nil {
		err = images.RemoveFileSizes(d.Dir)
	}
	if err == nil {
		err = around.KeepFiles(d.Dir, d.ID, procfs.Tree(d.PID), d.WillKeep)
	}
	if err != nil {
		continueTree(d)
	}
	return err
}

// continueTree lets the dumped tree run on, without the processes that were stopped before.
func continueTree(d hibernate.DumpOrder) {
	stopped, _ := images.ReadStoppedProcesses(d.Dir)
	procfs.ContinueStopped(slices.DeleteFunc(procfs.Tree(d.PID), func(pid int) bool {
		return len(stopped) > 0 && slices.Contains(stopped, procfs.NSPid(pid))
	}))
}

// dumpImages has CRIU write the images and stop the tree. The memory goes to d.Pages if
// that is set. After an error neither CRIU nor a helper of CRIU runs any more.
func (e *Engine) dumpImages(ctx context.Context, d hibernate.DumpOrder, opts *rpc.CriuOpts) error {
	var server *images.PageServer
	var files []*os.File
	if d.Pages != nil {
		var err error
		if server, err = images.StartPageServer(d.Dir, d.Pages); err != nil {
			return err
		}
		opts.Ps = &rpc.CriuPageServerInfo{Fd: new(int32(passedFD))}
		files = append(files, server.CRIUEnd())
	}
	s, end := e.takeOrStartSession(d.Prestarted, d.Cgroup, files)
	err := s.runRequestOnce(ctx, criuRequest{kind: rpc.CriuReqType_DUMP, images: d.Dir, opts: opts})
	if err != nil {
		signalAll(leftoverDumpHelpers(d), syscall.SIGKILL)
	}
	end()
	if server != nil {
		if serr := server.Close(); serr != nil && ctx.Err() == nil {
			return serr // the cause: CRIU knows only that its connection has ended
		}
	}
	return err
}

// leftoverDumpHelpers returns the PIDs of the helpers that a killed CRIU has left in the
// tree's cgroup. They are in the host's PID namespace, the tree's processes are not.
func leftoverDumpHelpers(d hibernate.DumpOrder) []int {
	own := procfs.Namespace(os.Getpid(), "pid")
	return slices.DeleteFunc(d.Cgroup.MembersOutsideTree(d.PID), func(pid int) bool { return procfs.Namespace(pid, "pid") != own })
}

// commonOptions returns the options that every dump and every restore has.
func commonOptions() *rpc.CriuOpts {
	return &rpc.CriuOpts{
		LogLevel:     proto.Int32(2),
		LogFile:      new(logName),
		LeaveStopped: new(true),
		// CRIU runs in the tree's cgroup, so all that CRIU restores is there too.
		ManageCgroupsMode: rpc.CriuCgMode_IGNORE.Enum(),
		NetworkLock:       rpc.CriuNetworkLockMethod_SKIP.Enum(),
		TcpClose:          new(true), // peers see the end of a connection at once, instead of a reset later
		FileLocks:         new(true),
		GhostLimit:        proto.Uint32(obstacles.MaxDeletedFileSize),
		Timeout:           proto.Uint32(10), // seconds to freeze the tree
	}
}
