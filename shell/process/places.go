package process

import (
	"cmp"
	"fmt"
	"path/filepath"
)

// places are the directories that a plugin has known since its start. Its memory and its open
// files name them, so that it can be woken only where they are.
type places struct {
	Run        string `json:"run"`
	Persistent string `json:"persistent"`
}

// places returns the present directories of the instance.
func (b *Backend) places() places { return places{b.runDir(), b.persistentDir()} }

// checkPlaces returns an error if the directories that the sleeping plugin knows are not those
// of the instance, since the root or the run directory is another one now.
func (b *Backend) checkPlaces(note imageNote) error {
	was, is := note.Places, b.places()
	was.Run = cmp.Or(was.Run, filepath.Dir(note.Socket)) // earlier hosts noted nothing else
	was.Persistent = cmp.Or(was.Persistent, is.Persistent)
	for _, moved := range [][2]string{{was.Run, is.Run}, {was.Persistent, is.Persistent}} {
		if was, is := moved[0], moved[1]; was != is && withoutLinks(was) != withoutLinks(is) {
			return fmt.Errorf("it was put to sleep with its files in %s, which are in %s now, and can't be woken elsewhere: move the directory back, or make the former path a symbolic link to it", was, is)
		}
	}
	return nil
}

// withoutLinks returns the path without symbolic links in the directories above it, which must
// exist; otherwise the path as it is.
func withoutLinks(path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return path
	}
	return filepath.Join(dir, filepath.Base(path))
}
