package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"dormouse/internal/atomicfile"
	"dormouse/internal/ownedtree"
	"dormouse/internal/store"
	"dormouse/plugins/state"
)

// blobFiles returns the names of the files of blobs.
func (s *site) blobFiles() []string {
	s.t.Helper()
	names, err := ownedtree.ForeignEntries(filepath.Join(s.root, state.DirName))
	must(s.t, err)
	return names
}

// askForBlob sends a request for a blob. The error says that no answer came.
func (h *host) askForBlob(method, owner, name string, body []byte) (status int, answer []byte, err error) {
	url := strings.TrimSuffix(h.url(), "/jsonrpc") + "/Service/State/" + owner + "/blobs/" + name
	request, err := http.NewRequestWithContext(h.t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// blob returns the content of a blob, nil if there is none.
func (h *host) blob(owner, name string) []byte {
	h.t.Helper()
	status, content, err := h.askForBlob(http.MethodGet, owner, name, nil)
	if status == http.StatusNotFound {
		return nil
	}
	if err != nil || status != http.StatusOK {
		h.t.Fatalf("the blob %s of %s: %d %s, %v", name, owner, status, content, err)
	}
	return content
}

// stateOperation changes the state of a clone, which has the blob "b" of old and the key "k" of 1.
type stateOperation struct {
	name, point string
	change      func(h *host) error
	// blob and key are what must be there after a kill at the point; nil and "" for nothing.
	blob []byte
	key  string
}

var (
	oldBlob = bytes.Repeat([]byte("old "), 300_000)
	newBlob = bytes.Repeat([]byte("new "), 400_000)
)

func putNewBlob(h *host) error {
	_, _, err := h.askForBlob(http.MethodPut, "Clone", "b", newBlob)
	return err
}

var stateOperations = []stateOperation{
	{"replace a blob", "state.blobwritten", putNewBlob, oldBlob, "1"},
	{"replace a blob", "state.blobsynced", putNewBlob, oldBlob, "1"},
	{"replace a blob", "state.blobwhole", putNewBlob, oldBlob, "1"},
	{"replace a blob", "state.blobput", putNewBlob, newBlob, "1"},
	{"delete a blob", "state.blobdeleted", func(h *host) error {
		_, _, err := h.askForBlob(http.MethodDelete, "Clone", "b", nil)
		return err
	}, nil, "1"},
	{"set a key", "state.changed", func(h *host) error {
		return h.ask("State.set", map[string]any{"owner": "Clone", "key": "k", "value": 2}, nil)
	}, oldBlob, "2"},
	{"remove everything", "state.removed", func(h *host) error {
		return h.ask("State.remove", map[string]any{"owner": "Clone"}, nil)
	}, nil, ""},
	{"destroy the clone", "state.removed", func(h *host) error {
		return h.ask("Controller.destroy", map[string]any{"callsign": "Clone"}, nil)
	}, nil, ""},
}

// A host that is killed at any step of a change of state is followed by one that has the state
// before or after, each whole: no half blob, no file without a blob, no blob without its file.
func TestKilledWhileChangingState(t *testing.T) {
	t.Parallel()
	for n, o := range stateOperations {
		if !thorough && n%3 != 1 {
			continue
		}
		t.Run(o.name+"/"+o.point, func(t *testing.T) {
			runBeside(t)
			s := newSite(t, "", counter())
			first := s.start("")
			first.ready()
			first.must("Controller.clone", map[string]string{"callsign": "Counter", "newcallsign": "Clone"}, nil)
			first.must("State.set", map[string]any{"owner": "Clone", "key": "k", "value": 1}, nil)
			first.must("State.set", map[string]any{"owner": "Counter", "key": "k", "value": "untouched"}, nil)
			if status, answer, err := first.askForBlob(http.MethodPut, "Clone", "b", oldBlob); status != http.StatusCreated || err != nil {
				t.Fatalf("%d %s, %v", status, answer, err)
			}
			first.end()

			second := s.start(o.point)
			second.ready()
			if err := o.change(second); err == nil {
				t.Error("the change was answered")
			}
			second.killed()

			third := s.start("")
			third.ready()
			checkState(t, s, third, o)
			third.end()
		})
	}
}

// checkState checks that the state is what it must be after the kill.
func checkState(t *testing.T, s *site, h *host, o stateOperation) {
	t.Helper()
	if content := h.blob("Clone", "b"); !bytes.Equal(content, o.blob) {
		t.Errorf("the blob has %d bytes, and must have %d", len(content), len(o.blob))
	}
	wantFiles := 0
	if o.blob != nil {
		wantFiles = 1
	}
	if files := s.blobFiles(); len(files) != wantFiles {
		t.Errorf("the files of blobs are %q", files)
	}
	var key struct{ Value any }
	err := h.ask("State.get", map[string]any{"owner": "Clone", "key": "k"}, &key)
	if o.key == "" && err == nil || o.key != "" && fmt.Sprint(key.Value) != o.key {
		t.Errorf("the key is %v, %v", key.Value, err)
	}
	h.must("State.get", map[string]any{"owner": "Counter", "key": "k"}, &key)
	if key.Value != "untouched" {
		t.Errorf("another's key is %v", key.Value)
	}
}

// openState opens the state in a directory without a host.
func openState(t *testing.T, dir string) (*state.State, *store.Store) {
	t.Helper()
	s, err := store.Open(filepath.Join(dir, "store.db"), store.Options{})
	must(t, err)
	st, err := state.New(state.Options{Store: s, Dir: filepath.Join(dir, state.DirName)})
	must(t, err)
	return st, s
}

// putBlob puts a blob whose content tells its name and number, many times.
func putBlob(t *testing.T, st *state.State, name string, n, lines int) error {
	t.Helper()
	u, err := st.NewUpload(t.Context(), "A", state.UploadStart{Name: name})
	if err != nil {
		return err
	}
	defer u.Discard()
	line := fmt.Sprintf("%s %d\n", name, n)
	for range lines / 100 {
		if _, err := u.Write([]byte(strings.Repeat(line, 100))); err != nil {
			return err
		}
	}
	_, err = u.Finish(t.Context())
	return err
}

// stateLedger notes which blobs, and which keys, were acknowledged last.
type stateLedger struct {
	mu   sync.Mutex
	acks map[string]int
	err  error // the first
}

// changeUntilError puts blobs and sets keys with ever higher numbers from several goroutines until
// all have failed. It calls cut once, when the first has made so many changes.
func changeUntilError(t *testing.T, st *state.State, changes int, cut func()) *stateLedger {
	t.Helper()
	l := &stateLedger{acks: make(map[string]int)}
	var all sync.WaitGroup
	var once sync.Once
	for w := range 4 {
		all.Go(func() {
			name := fmt.Sprint("writer", w)
			for n := 1; n < 1000; n++ {
				if n == changes {
					once.Do(cut)
				}
				err := putBlob(t, st, name, n, 2000)
				if err == nil {
					_, _, err = st.Change(t.Context(), "A", state.Change{Key: name, Value: fmt.Append(nil, n)})
				}
				l.mu.Lock()
				if err == nil {
					l.acks[name] = n
				} else if l.err == nil {
					l.err = err
				}
				l.mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return l
}

// verify fails the test if what was acknowledged is not there whole, or if a blob has no file or a
// file no blob.
func (l *stateLedger) verify(t *testing.T, st *state.State, dir string) {
	t.Helper()
	for name, acked := range l.acks {
		e, err := st.Get(t.Context(), "A", name)
		if err != nil || string(e.Value) != fmt.Sprint(acked) && string(e.Value) != fmt.Sprint(acked+1) {
			t.Errorf("the key %s is %s, %v, and %d was acknowledged", name, e.Value, err, acked)
		}
		b, err := st.OpenBlob(t.Context(), "A", name)
		must(t, err)
		text, err := io.ReadAll(b)
		must(t, errors.Join(err, b.Close()))
		first, _, _ := strings.Cut(string(text), "\n")
		if string(text) != strings.Repeat(first+"\n", 2000) {
			t.Errorf("the blob %s is not whole: it has %d bytes and begins with %q", name, len(text), first)
		}
		if first != fmt.Sprint(name, " ", acked) && first != fmt.Sprint(name, " ", acked+1) {
			t.Errorf("the blob %s is %q, and %d was acknowledged", name, first, acked)
		}
	}
	blobs, err := st.ListBlobs(t.Context(), "A", state.Page{})
	must(t, err)
	files, err := ownedtree.ForeignEntries(filepath.Join(dir, state.DirName))
	must(t, err)
	if len(files) != len(blobs.All) {
		t.Errorf("there are %d files of %d blobs", len(files), len(blobs.All))
	}
}

// After a power cut all that was acknowledged is there, keys and blobs, whole.
func TestStateAfterPowerCut(t *testing.T) {
	cuts := 2
	if thorough {
		cuts = 15
	}
	for cut := range cuts {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			file, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
			d := &disk{t, file}
			write(t, file, nil)
			must(t, os.Truncate(file, diskSize))
			d.run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", file)
			d.mountAt(dir)
			st, s := openState(t, dir)
			l := changeUntilError(t, st, 2+cut, func() {
				// Between two commits: ext4 lets a sync succeed that its shutdown overtakes.
				_ = s.Update(t.Context(), func(*store.Tx) error { cutPower(t, dir); return nil })
			})
			if l.err == nil || len(l.acks) == 0 {
				t.Errorf("acknowledged were %v, then %v", l.acks, l.err)
			}
			_ = s.Close() // what it says of the disk does not matter

			after, again := &disk{t, file + "-after"}, t.TempDir()
			d.run("cp", "--sparse=always", file, after.file) // as the disk is now, and mounted by nothing else
			after.mountAt(again)
			st, s = openState(t, again)
			l.verify(t, st, again)
			must(t, s.Close())
		})
	}
}

// A disk that breaks in the middle is an error of each change, and what was acknowledged can be
// read.
func TestStateOnBrokenDisk(t *testing.T) {
	dir := t.TempDir()
	d := memoryDisk(t, dir)
	st, s := openState(t, dir)
	defer func() { _ = s.Close() }()
	l := changeUntilError(t, st, 10, d.fail)
	if !errors.Is(l.err, syscall.EIO) {
		t.Errorf("a change on a broken disk says %v", l.err)
	}
	for name, acked := range l.acks {
		if e, err := st.Get(t.Context(), "A", name); err != nil || string(e.Value) != fmt.Sprint(acked) {
			t.Errorf("the key %s is %s, %v, and %d was acknowledged", name, e.Value, err, acked)
		}
	}
}

// A full disk is an error of each change until there is room; nothing is left of a blob for which
// there was none, and what is there can be read.
func TestStateOnFullDisk(t *testing.T) {
	for name, disk := range map[string]func(t *testing.T, dir string){
		"tmpfs": small,
		"ext4":  func(t *testing.T, dir string) { t.Helper(); memoryDisk(t, dir) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			disk(t, dir)
			ballast := filepath.Join(dir, "ballast")
			st, s := openState(t, dir)
			must(t, putBlob(t, st, "b", 1, 2000))
			fill(t, ballast, 64<<10)
			refused := func(when string) {
				t.Helper()
				if err := putBlob(t, st, "b", 2, 200_000); !atomicfile.IsNoRoom(err) {
					t.Errorf("a blob %s says %v", when, err)
				}
				value := []byte(`"` + strings.Repeat("x", 60_000) + `"`)
				var err error
				for n := 0; n < 20 && err == nil; n++ {
					_, _, err = st.Change(t.Context(), "A", state.Change{Key: fmt.Sprint("k", n), Value: value})
				}
				if !atomicfile.IsNoRoom(err) {
					t.Errorf("a key %s says %v", when, err)
				}
				(&stateLedger{}).verify(t, st, dir)
				b, err := st.OpenBlob(t.Context(), "A", "b")
				must(t, err)
				text, err := io.ReadAll(b)
				must(t, errors.Join(err, b.Close()))
				if !bytes.HasPrefix(text, []byte("b 1\n")) {
					t.Errorf("%s the blob begins with %.10q", when, text)
				}
			}
			refused("while the disk is full")
			must(t, s.Close())
			st, s = openState(t, dir)
			refused("opened on a full disk")
			must(t, os.Remove(ballast))
			must(t, putBlob(t, st, "b", 2, 200_000))
			must(t, s.Close())
			st, s = openState(t, dir)
			(&stateLedger{acks: map[string]int{}}).verify(t, st, dir)
			must(t, s.Close())
		})
	}
}
