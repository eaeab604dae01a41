// Package atomicfile replaces files so that after a crash at any moment a file has either
// its old or its new contents.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// Write replaces the file at path durably: it writes a new file beside the old one, syncs
// the new file, renames it to path, and syncs the directory. It makes missing directories
// with mode 0700. A file that root writes belongs to the owner of the directory, so that
// the owner can read it.
func Write(path string, data []byte, mode os.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := writeAndRename(path, data, mode, (*os.File).Sync); err != nil {
		return err
	}
	return SyncDir(dir)
}

// WriteWithoutSync is like Write but not durable: if this process crashes the file has its old
// or its new contents, but a power cut may lose both. The directory must exist.
func WriteWithoutSync(path string, data []byte, mode os.FileMode) error {
	return writeAndRename(path, data, mode, func(*os.File) error { return nil })
}

// writeAndRename writes a new file beside path, calls sync with it, and renames it to path.
// After an error the new file is removed, and the old one is unchanged.
func writeAndRename(path string, data []byte, mode os.FileMode, sync func(*os.File) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = GiveToOwnerOf(dir, f)
	}
	if err == nil {
		err = sync(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// IsNoRoom reports whether err says that the disk is full, or may not take more of this user.
func IsNoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// GiveToOwnerOf changes the owner and group of a new file to those of the directory, if this
// process runs as root and root does not own the directory.
func GiveToOwnerOf(dir string, f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// SyncDir makes durable which files were created, removed and renamed in dir.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
