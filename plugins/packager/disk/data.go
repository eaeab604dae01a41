package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/atomicfile"
	"dormouse/internal/ownedtree"
)

// ErrTooLarge means that data is larger than may be copied, and its file system can't share it.
var ErrTooLarge = errors.New("the data is larger than keep-data allows")

// KeptData returns where the data of an instance is kept for that version.
func (d *Dirs) KeptData(name, digest, callsign string) string {
	return filepath.Join(d.root, dataName, filepath.Base(name), hexOf(digest), filepath.Base(callsign))
}

// HasData reports whether data of the instance is kept for that version.
func (d *Dirs) HasData(name, digest, callsign string) bool {
	_, err := os.Lstat(d.KeptData(name, digest, callsign))
	return err == nil
}

// KeepData keeps a copy of the directory from, the data of an instance as that version has left
// it, durably and whole or not at all. Where the file system shares blocks, nothing is copied;
// elsewhere at most limit bytes are, and the error wraps ErrTooLarge for more. A missing
// directory counts as an empty one. An earlier copy is replaced.
func (d *Dirs) KeepData(ctx context.Context, from, name, digest, callsign string, limit int64) error {
	err := keepWhole(d.KeptData(name, digest, callsign), func(draft string) error {
		return (&copier{ctx: ctx, room: limit}).copyTree(from, draft)
	})
	if err != nil {
		return fmt.Errorf("cannot keep the data of %s: %w", callsign, err)
	}
	return nil
}

// KeptState returns where the state of an instance is kept for that version.
func (d *Dirs) KeptState(name, digest, callsign string) string {
	return filepath.Join(d.root, dataName, filepath.Base(name), hexOf(digest), statePrefix+filepath.Base(callsign))
}

// KeepState keeps what fill writes into an empty directory, the state of an instance as that
// version has left it, durably and whole or not at all. An earlier one is replaced.
func (d *Dirs) KeepState(name, digest, callsign string, fill func(dir string) error) error {
	return keepWhole(d.KeptState(name, digest, callsign), func(draft string) error {
		if err := os.Mkdir(draft, 0o700); err != nil {
			return err
		}
		return fill(draft)
	})
}

// RemoveState removes the state that KeepState has kept. It does nothing if none is kept.
func (d *Dirs) RemoveState(name, digest, callsign string) error {
	return ownedtree.Remove(d.KeptState(name, digest, callsign))
}

// keepWhole makes the directory to with what fill puts at the path that it is given, durably and
// whole or not at all. What is at to is replaced.
func keepWhole(to string, fill func(draft string) error) error {
	parent := filepath.Dir(to)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	draft := filepath.Join(filepath.Dir(parent), draftPrefix+filepath.Base(parent)+"-"+filepath.Base(to))
	err := ownedtree.Remove(draft)
	if err == nil {
		err = fill(draft)
	}
	if err == nil {
		err = syncFileSystem(draft)
	}
	if err == nil {
		err = ownedtree.Remove(to)
	}
	if err == nil {
		err = os.Rename(draft, to)
	}
	if err == nil {
		err = errors.Join(atomicfile.SyncDir(parent), atomicfile.SyncDir(filepath.Dir(parent)))
	}
	if err != nil {
		return errors.Join(err, ownedtree.Remove(draft))
	}
	return nil
}

// PutDataBack moves the kept data of an instance to its place. What lies there goes to the
// trash. It can be repeated after a crash between any two steps, if nothing makes the directory
// meanwhile. It does nothing if no data is kept.
func (d *Dirs) PutDataBack(to, name, digest, callsign string) error {
	if !d.HasData(name, digest, callsign) {
		return nil
	}
	if _, err := os.Lstat(to); err == nil {
		if err := d.Trash(to, name+"-data-"+callsign); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	kept := d.KeptData(name, digest, callsign)
	if err := os.Rename(kept, to); err != nil {
		return fmt.Errorf("cannot put the data of %s back: %w", callsign, err)
	}
	return errors.Join(atomicfile.SyncDir(filepath.Dir(to)), atomicfile.SyncDir(filepath.Dir(kept)))
}

// RemoveData removes the data that is kept for one version, or with an empty digest for all
// versions of the package.
func (d *Dirs) RemoveData(name, digest string) error {
	dir := filepath.Join(d.root, dataName, filepath.Base(name))
	if digest != "" {
		dir = filepath.Join(dir, hexOf(digest))
	}
	err := ownedtree.Remove(dir)
	_ = os.Remove(filepath.Join(d.root, dataName, filepath.Base(name))) // once it is empty
	return err
}

// KeptVersions returns the digests for which data of the package is kept.
func (d *Dirs) KeptVersions(name string) (digests []string, err error) {
	entries, err := os.ReadDir(filepath.Join(d.root, dataName, filepath.Base(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), draftPrefix) {
			digests = append(digests, "sha256:"+e.Name())
		}
	}
	return digests, err
}

// copier copies a tree, sharing blocks where the file system can.
type copier struct {
	ctx  context.Context
	room int64 // bytes that may still be copied
}

// copyTree copies the directory from, with owners, modes, times and hard attributes that a user
// sees. A missing from makes an empty directory.
func (c *copier) copyTree(from, to string) error {
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(to, 0o700)
	}
	if err != nil {
		return err
	}
	return c.copyEntry(from, to, info)
}

// copyEntry copies a file, link or directory. Sockets, pipes and devices are left out: they
// are made anew by the program.
func (c *copier) copyEntry(from, to string, info fs.FileInfo) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	var err error
	switch {
	case info.IsDir():
		err = c.copyDir(from, to)
	case info.Mode().IsRegular():
		err = c.copyFile(from, to, info)
	case info.Mode()&fs.ModeSymlink != 0:
		var target string
		if target, err = os.Readlink(from); err == nil {
			err = os.Symlink(target, to)
		}
	default:
		return nil
	}
	if err != nil {
		return err
	}
	return copyAttributes(from, to, info)
}

func (c *copier) copyDir(from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil {
			err = c.copyEntry(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()), info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyFile shares the blocks of a file, or copies them if that can't be and there is room.
func (c *copier) copyFile(from, to string, info fs.FileInfo) (err error) {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	if c.room -= info.Size(); c.room < 0 {
		return ErrTooLarge
	}
	_, err = io.Copy(out, in)
	return err
}

// copyAttributes gives the copy the owner, mode, extended attributes of users, and times.
func copyAttributes(from, to string, info fs.FileInfo) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: from, Err: err}
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
			return &os.PathError{Op: "chmod", Path: to, Err: err}
		}
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, to, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "set the times of", Path: to, Err: err}
	}
	return nil
}

// DataSize returns the bytes of the files in a directory; a missing one has none.
func DataSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if path == dir && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if e.Type().IsRegular() {
			info, err := e.Info()
			if err != nil {
				return err
			}
			size += info.Size()
		}
		return nil
	})
	return size, err
}

// SharesBlocks reports whether files can be copied into the directory of kept data, from dir,
// without copying their blocks. dir must be writable.
func (d *Dirs) SharesBlocks(dir string) bool {
	from, err := os.CreateTemp(dir, draftPrefix)
	if err != nil {
		return false
	}
	defer os.Remove(from.Name())
	defer from.Close()
	to, err := os.CreateTemp(filepath.Join(d.root, dataName), draftPrefix)
	if err != nil {
		return false
	}
	defer os.Remove(to.Name())
	defer to.Close()
	_, err = from.WriteString("x")
	return err == nil && unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil
}
