package disk

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Fingerprint returns a text that changes when a file in dir is written, replaced, added or
// removed: names, sizes, inodes and times of change, which no program can set. It reads no file.
func Fingerprint(dir string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if relative == "." { // renaming the directory changes its own time
			return nil
		}
		_, err = fmt.Fprintf(h, "%s\x00%d %d %o %d %d.%d\n", relative, st.Ino, st.Size, st.Mode, st.Nlink, st.Ctim.Sec, st.Ctim.Nsec)
		return err
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
