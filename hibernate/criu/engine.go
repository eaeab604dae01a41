// Package criu is the hibernate.Engine that works through CRIU, a process of
// its own for each dump and restore. It knows CRIU's options and traps; what an
// image means, and when it is one, is not its business.
package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"google.golang.org/protobuf/proto"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/images"
	"dormouse/hibernate/criu/obstacles"
	"dormouse/hibernate/criu/pager"
	"dormouse/internal/procfs"
)

// Engine runs one CRIU executable.
type Engine struct {
	path     string
	version  string
	programs string // directory for helpers and work
	timing   pager.Timing
	*obstacles.Finder

	turn     chan struct{} // held by whoever checks: the canary costs more than an answer remembered
	checked  bool          // guarded by turn, as what follows
	checkErr error
}

var _ hibernate.Engine = (*Engine)(nil)

// What the engine makes for a moment in its directory.
const (
	workPrefix   = "criu-"
	canaryPrefix = "canary-"
)

// places are where setup and the package install CRIU.
var places = []string{"/usr/local/lib/dormouse/criu/criu", "/usr/lib/dormouse/criu/criu"}

// Open finds CRIU: at path when given, else where it was installed for this
// host, else in PATH. When there is none that runs, the engine is returned all
// the same and its Check says why. The directory programs is where the engine
// may keep helpers that it executes.
func Open(path, programs string) *Engine {
	e := &Engine{path: path, programs: programs, timing: pager.DefaultTiming, Finder: &obstacles.Finder{Programs: programs}, turn: make(chan struct{}, 1)}
	if path == "" {
		e.path = locate()
	}
	if e.path == "" {
		e.fail(errors.New("CRIU is not installed: run make setup, or set [hibernate] criu to its path"))
		return e
	}
	version, err := e.askVersion()
	if err != nil {
		e.fail(fmt.Errorf("cannot run %s: %w", e.path, err))
		return e
	}
	e.version = version
	if os.Geteuid() != 0 {
		e.fail(errors.New("it needs root"))
	}
	return e
}

// fail settles Check's answer.
func (e *Engine) fail(err error) {
	if !e.checked {
		e.checked, e.checkErr = true, fmt.Errorf("%w: %w", hibernate.ErrUnsupported, err)
	}
}

func locate() string {
	for _, place := range places {
		if info, err := os.Stat(place); err == nil && info.Mode()&0o111 != 0 {
			return place
		}
	}
	path, err := exec.LookPath("criu")
	if err != nil {
		return ""
	}
	return path
}

// versionLimit is how long CRIU may take to tell its version.
const versionLimit = 5 * time.Second

// askVersion returns CRIU's version, such as "4.2.1".
func (e *Engine) askVersion() (string, error) {
	if _, err := exec.LookPath(e.path); err != nil {
		return "", err
	}
	c, err := startClient(e.path, "", nil)
	if err != nil {
		return "", err
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(context.Background(), versionLimit)
	defer cancel()
	resp, err := c.request(ctx, &rpc.CriuReq{Type: rpc.CriuReqType_VERSION.Enum()}, nil)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("it does not tell its version within %s", versionLimit)
	}
	if err != nil {
		return "", err
	}
	v := resp.GetVersion()
	major, minor, patch := v.GetMajorNumber(), v.GetMinorNumber(), v.GetSublevel()
	if v.GetGitid() != "" { // a development version, counted as the next release
		minor, patch = minor+1, 0
	}
	return fmt.Sprintf("%d.%d.%d", major, minor, patch), nil
}

// Tidy ends and removes what is left of an engine with the same directory whose
// host was killed. No other may be at work.
func (e *Engine) Tidy() error {
	var errs []error
	for _, prefix := range []string{workPrefix, canaryPrefix} {
		begin := filepath.Join(e.programs, prefix)
		working, _ := filepath.Glob("/proc/[0-9]*/cwd")
		for _, link := range working {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			if dir, err := os.Readlink(link); err == nil && strings.HasPrefix(dir, begin) {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone by now
			}
		}
		left, _ := filepath.Glob(begin + "*")
		for _, dir := range left {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// Path is the executable in use, empty when none was found.
func (e *Engine) Path() string { return e.path }

// Name is "criu" and the version.
func (e *Engine) Name() string { return "criu " + e.version }

// Check dumps and restores a process with inet sockets, the first time that it
// is called: what CRIU's own check says is not enough to go by. Later calls
// return the same answer. A check that ctx cut short has found out nothing, and
// the next one begins anew.
func (e *Engine) Check(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %s is still being tried: %w", hibernate.ErrUnsupported, e.path, ctx.Err())
	}
	if e.checked {
		return e.checkErr
	}
	err := e.writeKernelCache(ctx)
	if cerr := e.testDumpAndRestore(ctx); cerr != nil {
		err = fmt.Errorf("%w: %s cannot dump and restore a process here: %w", hibernate.ErrUnsupported, e.Name(), errors.Join(cerr, err))
		if ctx.Err() != nil {
			return err
		}
		e.checkErr = err
	}
	e.checked = true
	return e.checkErr
}

// Dump leaves the tree stopped, see hibernate.Engine.
func (e *Engine) Dump(ctx context.Context, d hibernate.Dump) error {
	opts := options()
	opts.Pid = new(int32(d.PID))
	opts.LeaveStopped = new(true)
	opts.LinkRemap = new(!d.Again) // the first restore removes these links
	release, err := lockWorkDirs(ctx, d.PID)
	if err != nil {
		return fmt.Errorf("cannot dump: %w", err)
	}
	defer release()
	if err := e.dump(ctx, d, opts); err != nil {
		return fmt.Errorf("cannot dump: %w", err)
	}
	if err := waitStopped(ctx, d.PID); err != nil {
		procfs.Continue(procfs.Tree(d.PID))
		return err
	}
	return nil
}

// dump has CRIU write the images. The memory goes to d.Pages if that is given.
func (e *Engine) dump(ctx context.Context, d hibernate.Dump, opts *rpc.CriuOpts) error {
	if d.Pages == nil {
		return e.runDump(ctx, d, opts, nil)
	}
	server, err := images.ServePages(d.Dir, d.Pages)
	if err != nil {
		return err
	}
	opts.Ps = &rpc.CriuPageServerInfo{Fd: new(int32(passedFD))}
	err = e.runDump(ctx, d, opts, []*os.File{server.ClientEnd()})
	if serr := server.Close(); serr != nil && ctx.Err() == nil {
		return serr // the cause: CRIU knows only that its connection has ended
	}
	return err
}

// runDump has CRIU dump with the files passed on. After an error nothing of CRIU
// runs any more.
func (e *Engine) runDump(ctx context.Context, d hibernate.Dump, opts *rpc.CriuOpts, files []*os.File) error {
	s, end := e.sessionFor(d.Prestarted, d.Cgroup, files)
	defer end()
	err := s.run(ctx, operation{kind: rpc.CriuReqType_DUMP, images: d.Dir, opts: opts})
	if err != nil {
		signalAll(dumpHelpers(d), syscall.SIGKILL)
	}
	return err
}

// dumpHelpers returns what a CRIU that was killed may have left in the cgroup. Such
// helpers share this process's PID namespace, which no process of a plugin does.
func dumpHelpers(d hibernate.Dump) []int {
	own := procfs.Namespace(os.Getpid(), "pid")
	return slices.DeleteFunc(d.Cgroup.MembersOutside(d.PID), func(pid int) bool { return procfs.Namespace(pid, "pid") != own })
}

// Identities reads the images of a dump, see hibernate.Engine.
func (e *Engine) Identities(dir string) ([]procfs.ThreadIdentity, error) {
	return images.Identities(dir)
}

// Restore leaves the tree stopped, see hibernate.Engine.
func (e *Engine) Restore(ctx context.Context, r hibernate.Restore) (*os.Process, error) {
	made := &restored{group: r.Cgroup}
	root, err := e.restore(ctx, r, made, operation{opts: restoreOptions()})
	if err != nil {
		return nil, errors.Join(err, made.end())
	}
	return root, nil
}

// restore completes the operation, has CRIU carry it out, and returns the root of
// the tree. After an error the caller must end what was made.
func (e *Engine) restore(ctx context.Context, r hibernate.Restore, made *restored, o operation) (*os.Process, error) {
	s, end := e.sessionFor(r.Prestarted, r.Cgroup, inheritedFiles(r.Files))
	defer end()
	for i := range r.Files {
		o.opts.InheritFd = append(o.opts.InheritFd, &rpc.InheritFd{Key: &r.Files[i].Key, Fd: new(int32(passedFD + i))})
	}
	o.kind, o.images, o.notify = rpc.CriuReqType_RESTORE, r.Dir, made.notify
	err := s.run(ctx, o)
	if err == nil && !made.complete {
		err = errors.New("CRIU did not say which process it made")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot restore: %w", err)
	}
	if err := waitStopped(ctx, made.root); err != nil {
		return nil, err
	}
	return os.FindProcess(made.root)
}

// inheritedFiles returns the files that a restored tree gets, in the same order. Each
// becomes a descriptor of CRIU's own, even if a file occurs twice: CRIU takes no
// descriptor under two keys.
func inheritedFiles(inherited []hibernate.Inherited) []*os.File {
	files := make([]*os.File, len(inherited))
	for i, f := range inherited {
		files[i] = f.File
	}
	return files
}

// restoreOptions returns the options of every restore.
func restoreOptions() *rpc.CriuOpts {
	opts := options()
	opts.LeaveStopped = new(true)
	opts.RstSibling = new(true) // the root becomes a child of this process, which can wait for its end
	return opts
}

// options returns the options that every dump and every restore has.
func options() *rpc.CriuOpts {
	return &rpc.CriuOpts{
		LogLevel: proto.Int32(2),
		LogFile:  new(logName),
		// CRIU runs in the tree's cgroup itself, so what it restores is there too.
		ManageCgroupsMode: rpc.CriuCgMode_IGNORE.Enum(),
		NetworkLock:       rpc.CriuNetworkLockMethod_SKIP.Enum(),
		TcpClose:          new(true), // peers see an end in order, instead of a reset later
		FileLocks:         new(true),
		GhostLimit:        proto.Uint32(obstacles.MaxDeletedFile),
		Timeout:           proto.Uint32(10), // seconds to freeze the tree
	}
}
