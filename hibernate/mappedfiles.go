package hibernate

import (
	"bytes"
	"fmt"
	"os"

	"dormouse/hibernate/pack"
	"dormouse/internal/fileid"
	"dormouse/internal/procfs"
)

// mappedFile is a file whose contents an image relies on without holding them.
// An engine may notice that it has another size, never that a byte of its code
// changed.
type mappedFile struct {
	Path      string   `json:"path"`
	fileid.ID          // if it is another one, the tag decides
	Tag       pack.Tag `json:"tag"`
}

// mappedBase keeps the numbers of mapped files apart from those of image files,
// whose tags have the same key.
const mappedBase = 1 << 31

// describeMapped returns the files that the processes run from.
func describeMapped(pids []int, t pack.Tagger) ([]mappedFile, error) {
	paths, err := procfs.MappedFiles(pids)
	if err != nil {
		return nil, fmt.Errorf("cannot list the mapped files: %w", err)
	}
	files := make([]mappedFile, len(paths))
	for i, path := range paths {
		if files[i], err = describe(path); err == nil {
			err = files[i].tag(t, i)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot describe mapped file %s: %w", path, err)
		}
	}
	return files, nil
}

// checkMapped returns an ErrRefused when one of the files is not what it was.
func checkMapped(files []mappedFile, t pack.Tagger) error {
	for i, was := range files {
		now, err := describe(was.Path)
		if err != nil {
			return fmt.Errorf("%w: the plugin runs from %s: %w", ErrRefused, was.Path, err)
		}
		if now.ID == was.ID {
			continue
		}
		if now.Size == was.Size {
			if err := now.tag(t, i); err != nil {
				return fmt.Errorf("%w: cannot read %s: %w", ErrRefused, was.Path, err)
			}
		}
		if now.Size != was.Size || !bytes.Equal(now.Tag, was.Tag) {
			return fmt.Errorf("%w: %s was replaced or changed since", ErrRefused, was.Path)
		}
	}
	return nil
}

func describe(path string) (mappedFile, error) {
	id, err := fileid.Of(path)
	return mappedFile{Path: path, ID: id}, err
}

func (m *mappedFile) tag(t pack.Tagger, number int) error {
	f, err := os.Open(m.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	m.Tag, err = t.TagFile(f, mappedBase+uint32(number), m.Size)
	return err
}
