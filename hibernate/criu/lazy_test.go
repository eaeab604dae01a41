package criu_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/internal/procfs"
	"dormouse/internal/uffd"
)

// folderMemory is a hibernate.Memory that reads a directory. It verifies nothing, and
// fails or waits where before says so.
type folderMemory struct {
	dir string
	// lasting is the directory of the loader; "" if this process loads. before works in
	// this process only.
	lasting string

	mu     sync.Mutex
	open   map[string]*os.File
	closed bool
	read   int
	// before is called before each chunk is read.
	before func(file string, index int64) error
}

func (f *folderMemory) ReadVerifiedChunk(file string, index int64, buffer []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before != nil {
		if err := f.before(file, index); err != nil {
			return nil, err
		}
	}
	if f.open[file] == nil {
		opened, err := os.Open(filepath.Join(f.dir, file))
		if err != nil {
			return nil, err
		}
		if f.open == nil {
			f.open = make(map[string]*os.File)
		}
		f.open[file] = opened
	}
	f.read++
	n, err := f.open[file].ReadAt(buffer, index*hibernate.ChunkSize)
	if n == 0 {
		return nil, err
	}
	return buffer[:n], nil
}

func (f *folderMemory) BytesRead() int64 { return 0 }

func (f *folderMemory) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	var errs []error
	for _, file := range f.open {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}

func (f *folderMemory) HandOver() (json.RawMessage, []*os.File, error) {
	text, err := json.Marshal(f.dir)
	return text, nil, err
}

func receiveFolderMemory(text json.RawMessage, _ []*os.File) (hibernate.Memory, error) {
	f := &folderMemory{}
	return f, json.Unmarshal(text, &f.dir)
}

// folderMemories returns two memories of the image in dir: one for this process, one for
// a loader.
func folderMemories(t *testing.T, dir string) []*folderMemory {
	t.Helper()
	return []*folderMemory{{dir: dir}, {dir: dir, lasting: t.TempDir()}}
}

// lazyImage returns a subject that has painted its memory, was dumped and has ended, and
// the directory of its image.
func lazyImage(t *testing.T, e *criu.Engine, mib int, orders ...string) (*subject, string) {
	t.Helper()
	return lazyImageFrom(t, e, startSubject(t), mib, orders...)
}

func lazyImageFrom(t *testing.T, e *criu.Engine, s *subject, mib int, orders ...string) (*subject, string) {
	t.Helper()
	must(t, uffd.CheckSupport())
	s.order(t, fmt.Sprintf("paint 0 %d", mib*256))
	for _, o := range orders {
		s.order(t, o)
	}
	dir := t.TempDir()
	must(t, e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: dir, Cgroup: s.cgroup}))
	s.End(t)
	return s, dir
}

// wake restores the subject lazily and continues it. The subject ends with the test.
func (s *subject) wake(t *testing.T, e *criu.Engine, m *folderMemory) hibernate.Loading {
	t.Helper()
	root, loading, err := e.RestoreLazy(t.Context(), hibernate.RestoreOrder{Dir: m.dir, Cgroup: s.cgroup, LoaderDir: m.lasting, Files: s.Files(t)}, m)
	must(t, err)
	s.SetRoot(t, root)
	if !s.Stopped(t) {
		t.Error("it runs before it was continued")
	}
	t.Cleanup(func() {
		if !procfs.HasEnded(s.PID()) {
			s.End(t)
		}
		loading.Close()
		if !m.closed {
			t.Error("the memory was not closed")
		}
	})
	s.Continue(t)
	return loading
}

// order gives the subject an order that must succeed.
func (s *subject) order(t *testing.T, words string) {
	t.Helper()
	if got := s.ask(t, words); got != "ok" {
		t.Errorf("%s: %s", words, got)
	}
}

func TestLazyMemoryIsIntact(t *testing.T) {
	e := openEngine(t)
	s, dir := lazyImage(t, e, 100)
	for _, m := range folderMemories(t, dir) {
		loading := s.wake(t, e, m)
		if got := s.State(t); got != "0" {
			t.Errorf("it answers %q", got)
		}
		s.order(t, "together 0 25600")
		<-loading.Done()
		must(t, loading.Err())
		if done, total := loading.Progress(); done != total || total < 100<<20 {
			t.Errorf("loaded %d of %d bytes", done, total)
		}
		s.order(t, "check 0 25600")
		s.End(t)
	}
}

// A tree may change memory that is not loaded yet in any way.
func TestLazyMemoryChanges(t *testing.T) {
	e := openEngine(t)
	for name, orders := range map[string][]string{
		"emptied":          {"empty 1000 3000", "check 0 4096"},
		"emptied, written": {"empty 1000 3000", "write 900 1100", "together 0 4096"},
		"unmapped":         {"unmap 1000 3000", "check 0 4096"},
		"moved":            {"move 1000 3000", "check 0 4096"},
		"moved twice":      {"move 1000 3000", "move 1500 2000", "check 0 4096"},
		"moved onto":       {"swallow 1000 1500", "check 0 4096"},
		"moved onto moved": {"move 500 1500", "swallow 1000 1500", "move 1200 1300", "check 0 4096"},
		"moved, emptied":   {"move 1000 3000", "empty 2000 2500", "check 0 4096"},
		"written":          {"write 0 4096", "check 0 4096"},
		"forked":           {"fork 0 4096", "check 0 4096"},
		"forked, ended":    {"fork 0 100", "fork 50 60", "check 0 4096"},
		"forked, changed":  {"move 1000 2000", "empty 1500 1600", "unmap 0 10", "fork 0 4096", "check 0 4096"},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := lazyImage(t, e, 16)
			e.LoadOnDemand()
			loading := s.wake(t, e, &folderMemory{dir: dir})
			for _, o := range orders {
				s.order(t, o)
			}
			loading.Hurry()
			<-loading.Done()
			must(t, loading.Err())
			s.order(t, "check 0 4096")
			s.order(t, "fork 0 4096")
		})
	}
}

// MADV_WIPEONFORK also holds for memory that is not loaded yet.
func TestLazyMemoryIsWipedOnFork(t *testing.T) {
	e := openEngine(t)
	s, dir := lazyImage(t, e, 16, "private 1000 2000")
	e.LoadOnDemand()
	loading := s.wake(t, e, &folderMemory{dir: dir})
	s.order(t, "forked-private 1000 2000")
	s.order(t, "fork 0 1000")
	s.order(t, "check 0 4096")
	loading.Hurry()
	<-loading.Done()
	must(t, loading.Err())
}

var errDisk = errors.New("the disk says no")

// A thread that touches memory which cannot be read waits until the tree is killed.
func TestLazyMemoryCannotBeRead(t *testing.T) {
	e := openEngine(t)
	s, dir := lazyImage(t, e, 16)
	e.LoadOnDemand()
	last := int64(-1)
	m := &folderMemory{dir: dir, before: func(_ string, index int64) error {
		if index == last {
			return errDisk
		}
		return nil
	}}
	info, err := os.Stat(filepath.Join(dir, "pages-2.img"))
	must(t, err)
	loading := s.wake(t, e, m)
	s.order(t, "check 0 100")
	m.mu.Lock()
	last = info.Size()/hibernate.ChunkSize/2 + 1 // in the middle of the paintedMemory
	m.mu.Unlock()
	conn, err := net.Dial("unix", s.socket)
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprintln(conn, "together 0 4096")
	must(t, err)
	<-loading.Done()
	if err := loading.Err(); !errors.Is(err, errDisk) {
		t.Errorf("it failed with %v", err)
	}
	s.End(t)
	loading.Close()
	if answer, _ := io.ReadAll(conn); len(answer) > 0 {
		t.Errorf("it had an answer: %q", answer)
	}
}

// Memory that CRIU reads itself is verified before the tree runs.
func TestLazyRestoreFails(t *testing.T) {
	e := openEngine(t)
	s, dir := lazyImage(t, e, 4)
	layout := map[string][]int64{}
	m := &folderMemory{dir: dir, before: func(file string, index int64) error {
		layout[file] = append(layout[file], index)
		return nil
	}}
	loading := s.wake(t, e, m)
	loading.Hurry()
	s.order(t, "check 0 1024")
	<-loading.Done()
	s.End(t)
	if len(layout["pages-1.img"]) == 0 || len(layout["pages-2.img"]) == 0 {
		t.Fatalf("asked for was %v", layout)
	}
	for file, index := range map[string]int64{"pages-1.img": 0, "pages-2.img": 0} {
		m := &folderMemory{dir: dir, before: func(f string, i int64) error {
			if f == file && i == index {
				return errDisk
			}
			return nil
		}}
		root, _, err := e.RestoreLazy(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup, Files: s.Files(t)}, m)
		if !errors.Is(err, errDisk) || root != nil {
			t.Errorf("%s: got %v, %v", file, root, err)
		}
		if left := procfs.Children(os.Getpid()); len(left) > 0 {
			t.Errorf("%s: left are %v", file, left)
		}
		if !m.closed {
			t.Errorf("%s: the memory was not closed", file)
		}
	}
}

func TestLazyRestoreGivenUp(t *testing.T) {
	e := openEngine(t)
	s, dir := lazyImage(t, e, 16)
	for after := range 50 {
		m := folderMemories(t, dir)[after%2]
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(after/2)*time.Millisecond)
		root, loading, err := e.RestoreLazy(ctx, hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup, LoaderDir: m.lasting, Files: s.Files(t)}, m)
		cancel()
		if err == nil { // the restore was quicker
			must(t, root.Kill())
			_, err = root.Wait()
			must(t, err)
			loading.Close()
		}
		if left := procfs.Children(os.Getpid()); len(left) > 0 || !m.closed {
			t.Fatalf("given up after %d ms: left are %v, the memory is closed: %v", after/2, left, m.closed)
		}
	}
}

// When a tree ends during its loading, no process and no descriptor is left.
func TestLazyTreeEnds(t *testing.T) {
	e := openEngine(t)
	s, dir := lazyImage(t, e, 16)
	before := countDescriptors(t)
	for _, hold := range []bool{false, true} {
		if hold {
			e.LoadOnDemand()
		}
		for n := range 6 {
			m := folderMemories(t, dir)[n%2]
			root, loading, err := e.RestoreLazy(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup, LoaderDir: m.lasting, Files: s.Files(t)}, m)
			must(t, err)
			s.SetRoot(t, root)
			s.Continue(t)
			s.order(t, "check 0 100")
			s.End(t)
			if !hold {
				<-loading.Done()
				must(t, loading.Err())
			}
			loading.Close()
			loading.Close()
		}
	}
	must(t, s.read.Close())
	must(t, s.write.Close())
	if after := countDescriptors(t); after > before {
		t.Errorf("%d descriptors, before there were %d", after, before)
	}
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

// Threads that change memory while others wait for it read only their own contents.
func TestLazyMemoryOfManyThreads(t *testing.T) {
	e := openEngine(t)
	const mib = 48
	s, dir := lazyImage(t, e, mib)
	for n, m := range append(folderMemories(t, dir), folderMemories(t, dir)...) {
		loading := s.wake(t, e, m)
		if n < 2 {
			loading.Hurry()
		}
		s.order(t, fmt.Sprintf("storm 0 %d", mib*256))
		s.order(t, fmt.Sprintf("fork 0 %d", mib*256))
		<-loading.Done()
		must(t, loading.Err())
		s.order(t, fmt.Sprintf("check 0 %d", mib*256))
		s.End(t)
	}
}

// While memory is loaded, threads read, pages are emptied, moved and unmapped, and
// children are forked.
func TestLazyMemoryUnderFire(t *testing.T) {
	e := openEngine(t)
	const mib = 64
	s, dir := lazyImage(t, e, mib)
	for round := range 4 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			dice := rand.New(rand.NewPCG(uint64(round), 4711))
			loading := s.wake(t, e, folderMemories(t, dir)[round%2])
			loading.Hurry()
			whole := fmt.Sprintf("0 %d", mib*256)
			gone := 0
			for range 12 {
				at := 240 + dice.IntN(mib*256-240-512)
				part := fmt.Sprintf("%d %d", at, at+1+dice.IntN(511))
				switch dice.IntN(5) {
				case 0:
					s.order(t, "empty "+part)
				case 1:
					s.order(t, fmt.Sprintf("unmap %d %d", gone, gone+20)) // from the first page on, where nothing else is done
					gone += 20
				case 2:
					s.order(t, "fork "+whole)
				case 3:
					s.order(t, "write "+part)
				case 4:
					s.order(t, "together "+part)
				}
			}
			<-loading.Done()
			must(t, loading.Err())
			s.order(t, "check "+whole)
			s.End(t)
		})
	}
}

// TestLazyHostKilled runs itself again as a host, and kills that host while its tree,
// which lives on, lacks memory.
func TestLazyHostKilled(t *testing.T) {
	const variable = "DORMOUSE_TEST_HOST"
	if os.Getenv(variable) != "" {
		e := openEngine(t)
		e.LoadOnDemand()
		s, dir := lazyImageFrom(t, e, startSubjectWith(t, "", 0), 16)
		s.wake(t, e, &folderMemory{dir: dir})
		fmt.Printf("\nwoke %d %s %s\n", s.PID(), s.socket, s.cgroup) //nolint:forbidigo // to the test that started this one
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	openEngine(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestLazyHostKilled$")
	cmd.Env = append(os.Environ(), variable+"=1", "TMPDIR="+t.TempDir())
	stdin, err := cmd.StdinPipe()
	must(t, err)
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	s := &subject{}
	var root int
	for lines := bufio.NewScanner(out); root == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "woke %d %s %s", &root, &s.socket, &s.cgroup)
	}
	if root == 0 {
		t.Fatal("the host did not wake the subject")
	}
	tree := procfs.Tree(cmd.Process.Pid)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	conn, err := net.Dial("unix", s.socket)
	if err == nil {
		_, err = fmt.Fprintln(conn, "check 0 4096")
	}
	must(t, err)
	defer conn.Close()
	must(t, conn.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	if answer, err := io.ReadAll(conn); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it read something where nothing was: %q, %v", answer, err)
	}
	must(t, syscall.Kill(root, syscall.SIGKILL))
	for _, pid := range tree {
		wait(t, "all that the host had started to end", func() bool { return procfs.HasEnded(pid) })
	}
	if s.cgroup != "" {
		wait(t, "the cgroup to be empty", func() bool { return os.Remove(string(s.cgroup)) == nil })
	}
	must(t, os.RemoveAll(filepath.Dir(s.socket)))
}

// An image whose page maps cannot be read can still be restored without lazy loading.
func TestLazyRestoreUnsupported(t *testing.T) {
	e := openEngine(t)
	s, dir := lazyImage(t, e, 4)
	m := &folderMemory{dir: dir}
	must(t, os.Rename(filepath.Join(dir, "pagemap-2.img"), filepath.Join(dir, "kept")))
	must(t, os.WriteFile(filepath.Join(dir, "pagemap-2.img"), []byte("of another version"), 0o600))
	_, _, err := e.RestoreLazy(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup}, m)
	if !errors.Is(err, hibernate.ErrUnsupported) || !m.closed {
		t.Errorf("got %v, the memory is closed: %v", err, m.closed)
	}
	must(t, os.Rename(filepath.Join(dir, "kept"), filepath.Join(dir, "pagemap-2.img")))
	root, err := e.Restore(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup, Files: s.Files(t)})
	must(t, err)
	s.SetRoot(t, root)
	s.Continue(t)
	s.order(t, "check 0 1024")
	s.End(t)
}
