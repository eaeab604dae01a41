package store

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"modernc.org/sqlite"

	"dormouse/internal/atomicfile"
	"dormouse/internal/filelock"
	"dormouse/internal/regularfile"
	"dormouse/internal/store/carryover"
	"dormouse/internal/store/salvage"
)

// lockTimeout is how long Open waits for another process to close the file.
const lockTimeout = 2 * time.Second

// What stands beside the file: SQLite's log of changes and the index of that, and the lock of
// the process that writes.
const (
	walSuffix  = "-wal"
	shmSuffix  = "-shm"
	lockSuffix = "-lock"
)

// FilesBeside returns the names of what may stand beside a store of that name, and belongs to
// it.
func FilesBeside(name string) []string {
	return []string{name + walSuffix, name + shmSuffix, name + lockSuffix, name + markSuffix, name + newSuffix}
}

// file is the open file with its connections.
type file struct {
	path    string
	lock    *os.File // nil for one in memory
	db      *sql.DB
	writer  *connection // used by the goroutine that writes
	failed  bool        // the writer is to be replaced
	readers *readers
	isNew   bool // it was made when it was opened
	cramped bool // the writer is the only connection, and reads too

	single sync.Mutex // held by the one that reads, if the file is cramped
}

// openFile opens the file at path, or makes it, and verifies its records. A damaged file is
// rebuilt.
func openFile(path string, o Options) (_ *file, err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // what SQLite puts beside it must be beside it
	}
	lock, err := lockFor(path)
	if err != nil {
		return nil, openError(path, err)
	}
	f, err := openOrRebuild(path, o)
	if err != nil {
		return nil, errors.Join(openError(path, err), lock.Close())
	}
	f.lock = lock
	return f, nil
}

// openOrRebuild opens the file, and rebuilds it before if it is found damaged, now or by an
// earlier process.
func openOrRebuild(path string, o Options) (*file, error) {
	m, found, err := readMark(path)
	if err != nil {
		return nil, err
	}
	if found && m.isDone(path) {
		found, err = false, removeMark(path)
	}
	if err != nil {
		return nil, err
	}
	if !found {
		f, err := openIntact(path, o)
		if !errors.Is(explained(err), ErrDamaged) {
			return f, err
		}
		m = mark{Why: explained(err).Error()}
	}
	if err := rebuild(path, m, o); err != nil {
		return nil, rebuildError(explained(err))
	}
	f, err := openIntact(path, o)
	if f != nil {
		f.isNew = true
	}
	return f, err
}

// openIntact opens the file, or makes it, and verifies its records. The error wraps ErrDamaged
// if the file is damaged where it looks.
func openIntact(path string, o Options) (_ *file, err error) {
	f := &file{path: path}
	defer func() {
		if err != nil {
			err = errors.Join(explained(err), f.close())
		}
		if atomicfile.IsNoRoom(err) && !f.isNew { // an empty store instead would forget what is in the file
			err = fmt.Errorf("there is no room to open it; make room and start again: %s", err.Error())
		}
	}()
	if f.isNew, err = prepare(path, o); err != nil {
		return nil, err
	}
	if f.db, err = database(path); err != nil {
		return nil, err
	}
	if err = f.connect(); err != nil {
		return nil, err
	}
	if err = f.writer.inTransaction(makeOwnTables); err != nil {
		return nil, err
	}
	if err = f.writer.inTransaction(lookAtAllTables); err != nil {
		return nil, err
	}
	if err = f.writer.inTransaction(refreshLayout); err != nil {
		return nil, err
	}
	return f, f.writer.inTransaction(func(tx *Tx) error {
		names, err := setDamagedApart(tx)
		for _, name := range names {
			o.tell(fmt.Sprintf("the record %s of the store is damaged, and left out: it is in the table damaged_records", name))
		}
		return err
	})
}

// connect opens the connection that writes, and lets others read. A file that is there can be
// read without room on its disk.
func (f *file) connect() (err error) {
	if f.writer, err = connect(f.db, writerSettings); err == nil {
		f.readers = newReaders(f.db)
		return nil
	}
	if f.isNew || !errors.Is(explained(err), syscall.EIO) && !atomicfile.IsNoRoom(explained(err)) {
		return err
	}
	var cerr error
	if f.writer, cerr = connect(f.db, crampedSettings); cerr != nil {
		return err
	}
	f.cramped = true
	return nil
}

// openInMemory opens a file of which nothing is left when it is closed.
func openInMemory() (*file, error) {
	connector, err := sqlite.NewConnector(":memory:")
	if err != nil {
		return nil, err
	}
	f := &file{db: opened(connector)}
	if f.writer, err = connect(f.db, settings); err == nil {
		err = f.writer.inTransaction(makeOwnTables)
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// lockFor locks the file at path against other processes that write, until the lock is closed.
func lockFor(path string) (*os.File, error) {
	lock, err := regularfile.OpenFile(path+lockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := filelock.Lock(lock, lockTimeout); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// prepare makes sure that SQLite finds a file of its own at path, which it makes if there is
// none. A file of bbolt is replaced by one with the same records.
func prepare(path string, o Options) (isNew bool, err error) {
	for _, suffix := range []string{walSuffix, shmSuffix} {
		if info, err := os.Lstat(path + suffix); err == nil && !info.Mode().IsRegular() {
			return false, &fs.PathError{Op: "open", Path: path + suffix, Err: regularfile.ErrNotRegular}
		}
	}
	begin, err := beginOf(path)
	log, _ := os.Lstat(path + walSuffix)
	hasLog := log != nil && log.Size() > 0
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := setLogApart(path, hasLog, o); err != nil {
			return false, err
		}
		return true, makeEmpty(path)
	case err != nil:
		return false, err
	case len(begin) == 0 && !hasLog:
		return true, nil
	case len(begin) == 0, salvage.IsLogDamaged(path + walSuffix): // SQLite would forget what is in the log
		return false, fmt.Errorf("%w: its log has changes that it lacks", ErrDamaged)
	case carryover.IsBegin(begin):
		return false, carryOver(path, o)
	default:
		return false, nil
	}
}

// setLogApart renames the log of a file that is not there any more, for a new file must not
// have its changes.
func setLogApart(path string, hasLog bool, o Options) error {
	if !hasLog {
		return nil
	}
	kept := path + walSuffix + time.Now().Format(".stray-20060102T150405")
	if err := os.Rename(path+walSuffix, kept); err != nil {
		return err
	}
	o.tell(fmt.Sprintf("there is no %s, but there were changes to it: they are kept as %s, and the store begins empty", path, kept))
	return nil
}

// beginOf returns the first bytes of the file.
func beginOf(path string) ([]byte, error) {
	f, err := regularfile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	begin := make([]byte, 100)
	n, err := io.ReadFull(f, begin)
	if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // ReadFull returns these two as they are
		err = nil
	}
	return begin[:n], err
}

// makeEmpty makes an empty file with mode 0600, which SQLite's other files get from it.
func makeEmpty(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(f.Chmod(0o600), f.Close(), atomicfile.SyncDir(dirOf(path)))
	return err
}

// dirOf returns the directory of the file at path.
func dirOf(path string) string { return filepath.Dir(path) }

// openError returns the error of Open for one of the steps to it.
func openError(path string, err error) error {
	err = explained(err)
	switch {
	case errors.Is(err, filelock.ErrLocked), errors.Is(err, carryover.ErrInUse):
		return fmt.Errorf("cannot open %s: another process uses it", path)
	case errors.Is(err, carryover.ErrDamaged):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
		fallthrough
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("cannot open %s: %w; restore it from a backup, or move it away to start without its records", path, err)
	case isSystemError(err):
		return fmt.Errorf("cannot open the store: %w", err)
	default:
		return fmt.Errorf("cannot open %s: %w", path, err)
	}
}

// replaceWriter connects anew to write, and only then closes the connection that has failed: with
// the last connection the index of the log would go, and a full disk has no room for another.
func (f *file) replaceWriter() error {
	c, err := connect(f.db, writerSettings)
	if err == nil {
		f.writer.close()
		f.writer, f.failed = c, false
	}
	return err
}

// close closes the connections, and lets other processes open the file.
func (f *file) close() error {
	if f.readers != nil {
		f.readers.close()
	}
	if f.writer != nil {
		f.writer.close()
	}
	var errs []error
	if f.db != nil {
		errs = append(errs, f.db.Close())
	}
	if f.lock != nil {
		errs = append(errs, f.lock.Close())
	}
	return errors.Join(errs...)
}
