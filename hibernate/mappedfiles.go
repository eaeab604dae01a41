package hibernate

import (
	"bytes"
	"fmt"

	"dormouse/hibernate/pack"
	"dormouse/internal/fileid"
	"dormouse/internal/procfs"
	"dormouse/internal/regularfile"
)

// mappedFile is a file that the tree has mapped, such as its executable or a library. The
// image needs the file but does not contain it. An engine may notice that the size of the
// file changed, but never that a byte of its code changed.
type mappedFile struct {
	Path      string   `json:"path"`
	fileid.ID          // if this differs the tag decides whether the contents are the same
	Tag       pack.Tag `json:"tag"`
}

// mappedBase is added to the numbers of mapped files, so that they differ from those of
// image files: the tags of both have the same key.
const mappedBase = 1 << 31

// listAndTagMappedFiles returns the files that the processes have mapped, with their tags.
func listAndTagMappedFiles(pids []int, t pack.Tagger) ([]mappedFile, error) {
	paths, err := procfs.MappedFiles(pids)
	if err != nil {
		return nil, fmt.Errorf("cannot list the mapped files: %w", err)
	}
	files := make([]mappedFile, len(paths))
	for i, path := range paths {
		if files[i], err = statMappedFile(path); err == nil {
			err = files[i].computeAndSetTag(t, i)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot describe mapped file %s: %w", path, err)
		}
	}
	return files, nil
}

// checkMappedFilesUnchanged returns an ErrRefused if one of the files is missing or its
// contents changed. It reads only files that seem to be others by their fileid.ID.
func checkMappedFilesUnchanged(files []mappedFile, t pack.Tagger) error {
	for i, was := range files {
		now, err := statMappedFile(was.Path)
		if err != nil {
			return fmt.Errorf("%w: the plugin runs from %s: %w", ErrRefused, was.Path, err)
		}
		if now.ID == was.ID {
			continue
		}
		if now.Size == was.Size {
			if err := now.computeAndSetTag(t, i); err != nil {
				return fmt.Errorf("%w: cannot read %s: %w", ErrRefused, was.Path, err)
			}
		}
		if now.Size != was.Size || !bytes.Equal(now.Tag, was.Tag) {
			return fmt.Errorf("%w: %s was replaced or changed since", ErrRefused, was.Path)
		}
	}
	return nil
}

// statMappedFile returns the mapped file at path, without its tag.
func statMappedFile(path string) (mappedFile, error) {
	id, err := fileid.Of(path)
	return mappedFile{Path: path, ID: id}, err
}

// computeAndSetTag reads the file and sets its tag. The number is its place among the mapped
// files.
func (m *mappedFile) computeAndSetTag(t pack.Tagger, number int) error {
	f, err := regularfile.Open(m.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	m.Tag, err = t.TagFile(f, mappedBase+uint32(number), m.Size)
	return err
}
