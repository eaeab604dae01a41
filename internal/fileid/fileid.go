// Package fileid finds out whether a path still leads to the same file with the same
// contents, without reading the file. It does not know what the files are for.
package fileid

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ID identifies a file and the state of its contents. If two IDs of a path are equal, the
// file was not replaced or written to between; see OfUnlessJustChanged for the only
// exception. If they differ, the contents may still be equal. No file has the zero ID.
type ID struct {
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`
	Changed  int64  `json:"changed"`  // last change of the inode, in ns since 1970
	Modified int64  `json:"modified"` // last change of the contents, in ns since 1970
}

// Of returns the ID of the file, or of the file that a symbolic link leads to.
func Of(path string) (ID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return ID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return FromStat(&st), nil
}

// FromStat returns the ID of the file that st describes, see stat(2).
func FromStat(st *unix.Stat_t) ID {
	return ID{Device: st.Dev, Inode: st.Ino, Size: st.Size, Changed: st.Ctim.Nano(), Modified: st.Mtim.Nano()}
}

// settleTime is how old a change must be for the clock of the file system to
// distinguish it from the next change.
const settleTime = time.Second

// OfUnlessJustChanged returns the ID of the file. It returns the zero ID if the file is
// missing, or has changed so recently that another change might result in the same ID.
func OfUnlessJustChanged(path string) ID {
	id, err := Of(path)
	if err != nil || time.Since(time.Unix(0, id.Changed)) < settleTime {
		return ID{}
	}
	return id
}
