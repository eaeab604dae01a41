package tasks

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/protobuf/proto"

	"dormouse/internal/atomicfile"
	"dormouse/internal/bytesize"
	"dormouse/internal/failpoint"
	"dormouse/internal/ownedtree"
	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
)

// newSuffix marks a file that is being written.
const newSuffix = ".new"

// files is how many bytes the outputs of all tasks have, those that are being written included.
type files struct {
	mu    sync.Mutex
	bytes int64
	limit int64
}

// take counts bytes more. The error wraps ErrFull if they would be more than all may have.
func (f *files) take(n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bytes+n > f.limit {
		return fmt.Errorf("%w for outputs: all together have %s of %s; remove tasks, or raise all-output-bytes in [tasks]",
			ErrFull, bytesize.Format(f.bytes), bytesize.Format(f.limit))
	}
	f.bytes += n
	return nil
}

// giveBack counts bytes that are no more.
func (f *files) giveBack(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes -= n
}

// openFiles makes the directory of the outputs, counts them and removes what belongs to no task.
func (t *Tasks) openFiles() error {
	t.files.limit = int64(t.Config.AllOutputBytes)
	if err := os.MkdirAll(t.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the directory of outputs: %w", err)
	}
	known := make(map[string]map[string]bool) // keys by task
	err := t.Store.View(context.Background(), func(tx *store.Tx) error {
		rows, err := tx.Query("SELECT tasks.id, output, size FROM task_outputs JOIN tasks ON n = task")
		if err != nil {
			return err
		}
		for rows.Next() {
			var id string
			var raw []byte
			var size int64
			o := &taskspb.Output{}
			if err := errors.Join(rows.Scan(&id, &raw, &size), proto.Unmarshal(raw, o)); err != nil {
				return err
			}
			if known[id] == nil {
				known[id] = make(map[string]bool)
			}
			known[id][o.GetKey()] = true
			t.files.bytes += size
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	return t.removeStrayFiles(known)
}

// removeStrayFiles removes the directories of tasks without outputs, and what else lies in the
// others.
func (t *Tasks) removeStrayFiles(known map[string]map[string]bool) error {
	tasks, err := os.ReadDir(t.Dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, task := range tasks {
		if !task.IsDir() { // the mark
			continue
		}
		keys := known[task.Name()]
		if keys == nil {
			errs = append(errs, ownedtree.Remove(filepath.Join(t.Dir, task.Name())))
			continue
		}
		files, err := os.ReadDir(filepath.Join(t.Dir, task.Name()))
		errs = append(errs, err)
		for _, file := range files {
			if !keys[file.Name()] {
				errs = append(errs, os.Remove(filepath.Join(t.Dir, task.Name(), file.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

// readOutputs returns what a task leaves, sorted by name.
func readOutputs(tx *store.Tx, n int64) (all []*taskspb.Output, err error) {
	rows, err := tx.Query("SELECT output FROM task_outputs WHERE task = ? ORDER BY name", n)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var raw []byte
		o := &taskspb.Output{}
		if err := errors.Join(rows.Scan(&raw), proto.Unmarshal(raw, o)); err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, rows.Err()
}

// writing is an output that is being written.
type writing struct {
	tasks  *Tasks
	owner  string
	task   string
	output *taskspb.Output
	file   *os.File
	sum    hash.Hash
	others int64 // bytes in the other outputs of the task
}

// putOutput begins an output of a task of the owner that is pending. The caller must call finish
// or giveUp.
func (t *Tasks) putOutput(ctx context.Context, owner, task string, o *taskspb.Output) (*writing, error) {
	err := errors.Join(checkName("the name of an output", o.GetName(), true),
		checkMediaType("the content type", o.GetContentType()), checkName("the data type", o.GetDataType(), false))
	if err != nil {
		return nil, err
	}
	w := &writing{tasks: t, owner: owner, task: task, output: o, sum: sha256.New()}
	o.Key, o.Size = newID(), 0
	err = t.Store.View(ctx, func(tx *store.Tx) error {
		r, err := findOwn(tx, task, owner)
		if err != nil {
			return err
		}
		if !isPending(r.task) {
			return endedError(r.task)
		}
		var count int
		err = tx.QueryRow("SELECT count(*), coalesce(sum(size), 0) FROM task_outputs WHERE task = ? AND name <> ?", r.n, o.GetName()).Scan(&count, &w.others)
		if err == nil && count >= maxOutputs {
			err = fmt.Errorf("%w: the task has %d outputs, and may not have more", ErrFull, count)
		}
		return err
	})
	if err == nil {
		err = os.MkdirAll(filepath.Join(t.Dir, task), 0o700)
	}
	if err == nil {
		w.file, err = os.OpenFile(w.path()+newSuffix, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot put an output: %w", err)
	}
	return w, nil
}

// path returns where the file will lie.
func (w *writing) path() string { return filepath.Join(w.tasks.Dir, w.task, w.output.GetKey()) }

// Write adds content. The error wraps ErrFull if the task, or all tasks, would have more than
// they may.
func (w *writing) Write(content []byte) (int, error) {
	size, limit := int64(len(content)), int64(w.tasks.Config.OutputBytes)
	if has := w.others + w.output.GetSize(); has+size > limit {
		return 0, fmt.Errorf("%w for outputs of the task: %s are left of %s; output-bytes in [tasks] says so",
			ErrFull, bytesize.Format(max(limit-w.others, 0)), bytesize.Format(limit))
	}
	if err := w.tasks.files.take(size); err != nil {
		return 0, err
	}
	w.output.Size += size
	w.sum.Write(content)
	n, err := w.file.Write(content)
	if err != nil {
		return n, fmt.Errorf("cannot write an output: %w", err)
	}
	return n, nil
}

// finish makes the file an output of its task, in the place of one of the same name. It is on
// disk when finish returns nil. After an error nothing of it is left.
func (w *writing) finish(ctx context.Context) (*taskspb.Output, error) {
	t, o := w.tasks, w.output
	o.Digest = hex.EncodeToString(w.sum.Sum(nil))
	err := errors.Join(w.file.Sync(), w.file.Close())
	if err == nil {
		err = os.Rename(w.path()+newSuffix, w.path())
	}
	if err == nil {
		err = errors.Join(atomicfile.SyncDir(filepath.Dir(w.path())), atomicfile.SyncDir(t.Dir))
	}
	failpoint.Hit("task.written")
	var before *taskspb.Output
	if err == nil {
		before, err = w.record(ctx)
	}
	if err != nil {
		w.giveUp()
		return nil, fmt.Errorf("cannot put an output: %w", err)
	}
	if before != nil {
		t.files.giveBack(before.GetSize())
		if err := os.Remove(filepath.Join(t.Dir, w.task, before.GetKey())); err != nil {
			t.Log.Warn().Err(err).Str("task", w.task).Msg("could not remove an output that was replaced")
		}
	}
	return o, nil
}

// record writes the row of the output, and returns the one that it replaces, nil for none.
func (w *writing) record(ctx context.Context) (before *taskspb.Output, err error) {
	raw, err := proto.Marshal(w.output)
	if err != nil {
		return nil, err
	}
	err = w.tasks.change(ctx, func(tx *store.Tx) (changed, error) {
		row, err := touch(tx, w.owner, &taskspb.UpdateRequest{Task: w.task}, nil, 0)
		if err != nil {
			return changed{}, err
		}
		if before, err = findOutput(tx, row.n, w.output.GetName()); err != nil {
			return changed{}, err
		}
		_, err = tx.Exec("INSERT OR REPLACE INTO task_outputs VALUES (?, ?, ?, ?)", row.n, w.output.GetName(), raw, w.output.GetSize())
		return row.changed(w.task, w.owner, 0), err
	})
	return before, err
}

// findOutput returns the output of that name, nil for none.
func findOutput(tx *store.Tx, n int64, name string) (*taskspb.Output, error) {
	var raw []byte
	err := tx.QueryRow("SELECT output FROM task_outputs WHERE task = ? AND name = ?", n, name).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o := &taskspb.Output{}
	return o, proto.Unmarshal(raw, o)
}

// giveUp removes what was written.
func (w *writing) giveUp() {
	_ = w.file.Close()
	for _, path := range []string{w.path() + newSuffix, w.path()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.tasks.Log.Warn().Err(err).Str("task", w.task).Msg("could not remove an output that was given up")
		}
	}
	_ = os.Remove(filepath.Dir(w.path())) // if it is empty
	w.tasks.files.giveBack(w.output.GetSize())
}

// OpenOutput returns a file that a task has left, by its key, and its content, which the caller
// closes. The error wraps ErrUnknown if the task has none of that key, or has not ended.
func (t *Tasks) OpenOutput(ctx context.Context, id, key string) (*taskspb.Output, *os.File, error) {
	return t.openOutput(ctx, id, key, "")
}

// openOutput is OpenOutput for the caller of that callsign: the owner may name an output too, and
// gets it before the task has ended.
func (t *Tasks) openOutput(ctx context.Context, id, keyOrName, caller string) (*taskspb.Output, *os.File, error) {
	task, err := t.get(ctx, id, caller)
	if err != nil {
		return nil, nil, err
	}
	isOwner := caller != "" && task.GetCallsign() == caller
	for _, o := range task.GetOutputs() {
		if o.GetKey() == keyOrName || isOwner && o.GetName() == keyOrName {
			f, err := os.Open(filepath.Join(t.Dir, id, o.GetKey()))
			if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
				break
			}
			return o, f, err
		}
	}
	return nil, nil, fmt.Errorf("%w with an output %.64q", ErrUnknown, keyOrName)
}

// outputPart is how much of an output is sent at once.
const outputPart = 256 << 10

// sendOutput sends an output: what it is, and then its content.
func (t *Tasks) sendOutput(ctx context.Context, r *taskspb.GetOutputRequest, caller string, send func(*taskspb.OutputPart) error) error {
	o, f, err := t.openOutput(ctx, r.GetTask(), r.GetOutput(), caller)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := send(&taskspb.OutputPart{Output: o}); err != nil {
		return err
	}
	part := make([]byte, outputPart)
	for {
		n, err := f.Read(part)
		if n > 0 {
			if err := send(&taskspb.OutputPart{Content: part[:n]}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("cannot read the output: %w", err)
		}
	}
}
