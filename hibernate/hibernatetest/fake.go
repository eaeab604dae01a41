package hibernatetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"dormouse/hibernate"
	"dormouse/internal/procfs"
)

// Fake is an engine whose trees are single processes that do nothing, and whose images hold
// the text that SetMemory gave a process as its memory. A test can make each operation of
// the engine fail. Fake needs root, for PID namespaces, and no CRIU.
type Fake struct {
	EngineDefaults
	// Version is the second word of Name.
	Version string
	// Unsupported is the cause of the error of Check. Dump returns DumpError and the
	// restores return RestoreError, after a part of their work.
	Unsupported, DumpError, RestoreError error
	// AnyTimeObstacle, QuietObstacle and StoppedObstacle are returned by the methods of
	// similar names.
	AnyTimeObstacle, QuietObstacle, StoppedObstacle error
	// BeforeDump and BeforeRestore are called when Dump and Restore begin.
	BeforeDump, BeforeRestore func()
	// Link is the path of a file that Dump makes as a link that the image needs, "" for none.
	Link string
	// MoreRights makes Restore return a tree with more rights than the dumped one.
	MoreRights bool

	mu           sync.Mutex
	memory       map[int]string
	restoreCount int
}

var _ hibernate.Engine = (*Fake)(nil)

// ObstaclesAnyTime returns AnyTimeObstacle.
func (f *Fake) ObstaclesAnyTime([]int) error { return f.AnyTimeObstacle }

// ObstaclesWhenQuiet returns QuietObstacle.
func (f *Fake) ObstaclesWhenQuiet([]int) error { return f.QuietObstacle }

// ObstaclesWhenStopped returns StoppedObstacle.
func (f *Fake) ObstaclesWhenStopped([]int) error { return f.StoppedObstacle }

// The files of a fake image: one that a real engine would interpret, and a page file.
const (
	fakeCore  = "core-1.img"
	fakePages = "pages-1.img"
)

// NewFake returns a Fake that works. It skips the test if PID namespaces are not possible.
func NewFake(t *testing.T) *Fake {
	t.Helper()
	if os.Geteuid() != 0 {
		SkipOrFail(t, errors.New("PID namespaces need root"))
	}
	return &Fake{Version: "1", memory: make(map[int]string)}
}

// StartProcess starts a process that the engine can dump, and sets its memory. The process
// is killed when the test ends.
func (f *Fake) StartProcess(t *testing.T, memory string) *os.Process {
	t.Helper()
	p, err := startSleepCommand(false)
	must(t, err)
	t.Cleanup(func() {
		_ = p.Kill()
		_, _ = p.Wait()
	})
	f.SetMemory(p.Pid, memory)
	return p
}

// SetMemory sets the text that stands for the memory of the process.
func (f *Fake) SetMemory(pid int, memory string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.memory[pid] = memory
}

// Memory returns the text that stands for the memory of the process.
func (f *Fake) Memory(pid int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.memory[pid]
}

// RestoreCount returns how often a restore was attempted so far, lazy or not.
func (f *Fake) RestoreCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.restoreCount
}

// Name returns "fake" and Version.
func (f *Fake) Name() string { return "fake " + f.Version }

// Check returns an ErrUnsupported if Unsupported is set.
func (f *Fake) Check(context.Context) error {
	if f.Unsupported != nil {
		return fmt.Errorf("%w: %w", hibernate.ErrUnsupported, f.Unsupported)
	}
	return nil
}

// Dump calls BeforeDump, writes an image with the memory of the process and stops the
// process. If DumpError is set it returns that after the first file.
func (f *Fake) Dump(ctx context.Context, d hibernate.DumpOrder) error {
	if f.BeforeDump != nil {
		f.BeforeDump()
	}
	stopped := 0
	if procfs.IsStopped(d.PID) {
		stopped = procfs.NSPid(d.PID)
	}
	err := os.WriteFile(filepath.Join(d.Dir, fakeCore), fmt.Appendf(nil, "%04d", stopped), 0o600)
	if err == nil && f.Link != "" {
		if err = d.WillKeep([]string{f.Link}); err == nil {
			err = os.WriteFile(f.Link, nil, 0o600)
		}
	}
	if err == nil {
		err = f.DumpError
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = writePages(d, f.Memory(d.PID))
	}
	if err != nil {
		return err
	}
	return StopProcess(d.PID)
}

// StoppedProcesses returns the process in the image if it was stopped before the Dump.
func (f *Fake) StoppedProcesses(imageDir string) (nsPIDs []int, err error) {
	text, err := os.ReadFile(filepath.Join(imageDir, fakeCore))
	if errors.Is(err, os.ErrNotExist) { // an engine that embeds a Fake has another Dump
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stopped, err := strconv.Atoi(string(text))
	if err != nil || stopped == 0 {
		return nil, err
	}
	return []int{stopped}, nil
}

// writePages writes the memory to a page file where the order says.
func writePages(d hibernate.DumpOrder, memory string) error {
	if d.Pages == nil {
		return os.WriteFile(filepath.Join(d.Dir, fakePages), []byte(memory), 0o600)
	}
	pages, err := d.Pages(fakePages)
	if err != nil {
		return err
	}
	_, err = io.WriteString(pages, memory)
	return errors.Join(err, pages.Close())
}

// Restore calls BeforeRestore and starts a stopped process with the memory of the image. If
// RestoreError is set it returns that instead of the process.
func (f *Fake) Restore(ctx context.Context, r hibernate.RestoreOrder) (*os.Process, error) {
	f.mu.Lock()
	f.restoreCount++
	f.mu.Unlock()
	if f.BeforeRestore != nil {
		f.BeforeRestore()
	}
	if _, err := os.ReadFile(filepath.Join(r.Dir, fakeCore)); err != nil {
		return nil, err
	}
	memory, err := os.ReadFile(filepath.Join(r.Dir, fakePages))
	if err != nil {
		return nil, err
	}
	p, err := f.startStopped(ctx)
	if p != nil {
		f.SetMemory(p.Pid, string(memory))
	}
	return p, err
}

// startStopped starts a process, without memory so far, and stops it. If RestoreError is set
// or ctx has ended it starts nothing and returns that error.
func (f *Fake) startStopped(ctx context.Context) (*os.Process, error) {
	if err := errors.Join(f.RestoreError, ctx.Err()); err != nil {
		return nil, err
	}
	p, err := startSleepCommand(f.MoreRights)
	if err != nil {
		return nil, err
	}
	return p, StopProcess(p.Pid)
}

// RestoreLazy starts a stopped process, which gets its memory when Hurry of the loading is
// called. If RestoreError is set it returns that. It does not call BeforeRestore.
func (f *Fake) RestoreLazy(ctx context.Context, r hibernate.RestoreOrder, m hibernate.Memory) (*os.Process, hibernate.Loading, error) {
	f.mu.Lock()
	f.restoreCount++
	f.mu.Unlock()
	pages, err := os.Stat(filepath.Join(r.Dir, fakePages))
	if err != nil {
		return nil, nil, errors.Join(err, m.Close())
	}
	p, err := f.startStopped(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, m.Close())
	}
	return p, &fakeLoading{fake: f, pid: p.Pid, memory: m, size: pages.Size(), done: make(chan struct{})}, nil
}

// fakeLoading is a hibernate.Loading that loads all memory when Hurry is called, and nothing
// before.
type fakeLoading struct {
	fake   *Fake
	pid    int
	memory hibernate.Memory
	size   int64
	once   sync.Once
	done   chan struct{}
	err    error
}

// Done is closed by Hurry or Close.
func (l *fakeLoading) Done() <-chan struct{} { return l.done }

// Progress returns zeros.
func (l *fakeLoading) Progress() (loadedBytes, totalBytes int64) { return 0, 0 }

// BytesRead returns what the Memory says.
func (l *fakeLoading) BytesRead() int64 { return l.memory.BytesRead() }

// Close closes Done, and loads nothing that was not loaded before.
func (l *fakeLoading) Close() { l.loadOnceAndCloseMemory(func() error { return nil }) }

// Leave does nothing.
func (l *fakeLoading) Leave() {}

// Hurry loads all memory, closes Done and returns.
func (l *fakeLoading) Hurry() {
	l.loadOnceAndCloseMemory(func() error {
		var all []byte
		for index := range (l.size + hibernate.ChunkSize - 1) / hibernate.ChunkSize {
			data, err := l.memory.ReadVerifiedChunk(fakePages, index, make([]byte, hibernate.ChunkSize))
			if err != nil {
				return err
			}
			all = append(all, data...)
		}
		l.fake.SetMemory(l.pid, string(all))
		return nil
	})
}

// Err returns why Hurry could not load the memory, nil before Done.
func (l *fakeLoading) Err() error {
	select {
	case <-l.done:
		return l.err
	default:
		return nil
	}
}

// loadOnceAndCloseMemory calls load, closes the hibernate.Memory, and closes Done, unless it
// was called before.
func (l *fakeLoading) loadOnceAndCloseMemory(load func() error) {
	l.once.Do(func() {
		l.err = errors.Join(load(), l.memory.Close())
		close(l.done)
	})
}

// startSleepCommand runs "sleep infinity" as pid 1 of a new PID namespace. With otherGroups
// the process has other groups, and so other rights, than without.
func startSleepCommand(otherGroups bool) (*os.Process, error) {
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
		Credential: &syscall.Credential{Groups: []uint32{4711}},
	}
	if otherGroups {
		cmd.SysProcAttr.Credential.Groups = nil
	}
	err := cmd.Start()
	return cmd.Process, err
}

// StopProcess stops the process and returns when the kernel shows the process as stopped.
func StopProcess(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !procfs.IsStopped(pid) {
		<-tick.C
	}
	return nil
}
