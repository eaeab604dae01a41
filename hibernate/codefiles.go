package hibernate

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dormouse/hibernate/pack"
	"dormouse/internal/fileid"
	"dormouse/internal/procfs"
	"dormouse/internal/regularfile"
)

// codeFile is a file that the tree executes from: its executable, a library or a script. The
// image needs the file but does not contain it, and no engine notices that its code changed.
// A file that the tree has mapped or open as mere data may change, as under a running program.
type codeFile struct {
	Path      string   `json:"path"`
	fileid.ID          // if this differs the tag decides whether the contents are the same
	Tag       pack.Tag `json:"tag"`
	// Number, counted from 1, is what the file was tagged with. It is 0 in images of older
	// hosts, which tagged each file with its place among the files.
	Number uint32 `json:"number,omitempty"`
}

// codeBase is added to the numbers of code files, so that they differ from those of image
// files: the tags of both have the same key.
const codeBase = 1 << 31

// describeCode returns the files that the processes execute from, with their tags. It takes
// over those of known that are still the same files, and reads the others.
func describeCode(pids []int, t pack.Tagger, known []codeFile) ([]codeFile, error) {
	paths, err := procfs.ExecutedFiles(pids)
	if err != nil {
		return nil, fmt.Errorf("cannot list the executable and the libraries: %w", err)
	}
	files := make([]codeFile, len(paths))
	number := uint32(len(known))
	for i, path := range paths {
		now, err := statCodeFile(path)
		if err != nil {
			return nil, fmt.Errorf("the plugin runs from a file that is out of reach: %w", err)
		}
		at := slices.IndexFunc(known, func(k codeFile) bool { return k.Path == path && k.ID == now.ID })
		if at >= 0 {
			files[i] = known[at]
			continue
		}
		number++ // not used for known: no two tags of an image may have the same number
		if now.Tag, err = now.computeTag(t, number); err != nil {
			return nil, fmt.Errorf("cannot read %s, which the plugin runs from: %w", path, err)
		}
		now.Number = number
		files[i] = now
	}
	return files, nil
}

// checkCodeUnchanged returns an ErrChanged if the contents of one of the files changed, or if
// the file was removed from its directory. A file whose directory is missing or empty may be
// on a disk that is not mounted yet, and is another error. It reads only files that seem to be
// others by their fileid.ID.
func checkCodeUnchanged(files []codeFile, t pack.Tagger) error {
	for place, was := range files {
		now, err := statCodeFile(was.Path)
		if err != nil {
			err = fmt.Errorf("the plugin runs from %s: %w", was.Path, err)
			if errors.Is(err, fs.ErrNotExist) && hasFiles(filepath.Dir(was.Path)) {
				err = fmt.Errorf("%w: %w", ErrChanged, err)
			}
			return err
		}
		if now.ID == was.ID {
			continue
		}
		same, err := was.hasSameContents(now, place, t)
		if err != nil {
			return fmt.Errorf("cannot read %s, from which the plugin runs: %w", was.Path, err)
		}
		if !same {
			return fmt.Errorf("%w: %s was replaced or changed since", ErrChanged, was.Path)
		}
	}
	return nil
}

// hasFiles reports whether there is a directory at path that is not empty.
func hasFiles(path string) bool {
	entries, err := os.ReadDir(path)
	return err == nil && len(entries) > 0
}

// hasSameContents reports whether the other file has the contents that f had when it was
// tagged. The place is that of f among the files of its image.
func (f *codeFile) hasSameContents(other codeFile, place int, t pack.Tagger) (bool, error) {
	if other.Size != f.Size {
		return false, nil
	}
	number := f.Number
	if number == 0 {
		number = uint32(place) + 1
	}
	tag, err := other.computeTag(t, number)
	return bytes.Equal(tag, f.Tag), err
}

// statCodeFile returns the file at path, without its tag.
func statCodeFile(path string) (codeFile, error) {
	id, err := fileid.Of(path)
	return codeFile{Path: path, ID: id}, err
}

// computeTag reads the file and returns its tag with that number, which counts from 1.
func (f *codeFile) computeTag(t pack.Tagger, number uint32) (pack.Tag, error) {
	file, err := regularfile.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return t.TagFile(file, codeBase+number-1, f.Size)
}

// UsesCodeIn reports whether an image needs code below dir to be restored, also one that was put
// aside.
func (s *Store) UsesCodeIn(dir string) (uses bool, err error) {
	err = filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, walkErr error) error {
		if walkErr != nil || entry.IsDir() || filepath.Base(path) != manifestName {
			return nil //nolint:nilerr // what has gone meanwhile needs nothing
		}
		var m manifest
		if readSealedJSON(path, s.key, &m) != nil {
			return nil //nolint:nilerr // it can't be restored
		}
		if slices.ContainsFunc(m.Code, func(c codeFile) bool { return strings.HasPrefix(c.Path, dir+"/") }) {
			uses = true
			return filepath.SkipAll
		}
		return nil
	})
	return uses, err
}
