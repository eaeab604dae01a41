package hibernate

import (
	"bytes"
	"fmt"
	"os"
	"syscall"

	"dormouse/hibernate/pack"
	"dormouse/internal/procfs"
)

// mappedFile is a file whose contents an image relies on without holding them.
// An engine may notice that it has another size, never that a byte of its code
// changed.
type mappedFile struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	// Device, Inode, Modified and Changed tell without reading that the file is
	// still the same; if they differ the tag decides.
	Device   uint64   `json:"device"`
	Inode    uint64   `json:"inode"`
	Modified int64    `json:"modified"` // ns since 1970
	Changed  int64    `json:"changed"`  // ns since 1970
	Tag      pack.Tag `json:"tag"`
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
		now.Tag = was.Tag
		if now.same(was) {
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
	info, err := os.Stat(path)
	if err != nil {
		return mappedFile{}, err
	}
	m := mappedFile{Path: path, Size: info.Size(), Modified: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		m.Device, m.Inode, m.Changed = sys.Dev, sys.Ino, sys.Ctim.Nano()
	}
	return m, nil
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

func (m mappedFile) same(o mappedFile) bool {
	return m.Size == o.Size && m.Device == o.Device && m.Inode == o.Inode && m.Modified == o.Modified && m.Changed == o.Changed
}
