package pack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"dormouse/internal/regularfile"
)

// Unpacker writes the files of a packed image into a scratch, as they were before they
// were packed. Only one goroutine may use it.
type Unpacker struct {
	*Scratch
	codec  *Codec
	source string
	files  []File
	buffer []byte
}

// NewUnpacker returns an unpacker of the files, which are stored in packedDir.
// Close of the unpacker closes the scratch.
func NewUnpacker(codec *Codec, packedDir string, files []File, scratch *Scratch) *Unpacker {
	return &Unpacker{Scratch: scratch, codec: codec, source: packedDir, files: files, buffer: make([]byte, ChunkSize)}
}

// UnpackAll writes all files into the scratch. A file for which isUnpackedLater returns true
// gets its size but no contents: the caller unpacks its chunks later with UnpackChunk. The
// error wraps ErrDamaged as that of UnpackChunk does.
func (u *Unpacker) UnpackAll(isUnpackedLater func(name string) bool) error {
	for _, f := range u.files {
		if err := createSparseFile(filepath.Join(u.Dir, f.Name), f.Size); err != nil {
			return err
		}
		if isUnpackedLater(f.Name) {
			continue
		}
		for index := range f.Tag.ChunkCount() {
			if err := u.UnpackChunk(f.Name, index); err != nil {
				return err
			}
		}
	}
	return nil
}

// UnpackChunk writes one chunk of a file that UnpackAll has created. The error wraps
// ErrDamaged if the stored chunk is not as it was packed.
func (u *Unpacker) UnpackChunk(name string, index int64) error {
	number := slices.IndexFunc(u.files, func(f File) bool { return f.Name == name })
	if number < 0 {
		return fmt.Errorf("%s %w: there is no such file", name, ErrDamaged)
	}
	source, err := regularfile.Open(filepath.Join(u.source, name))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, regularfile.ErrNotRegular) {
		return fmt.Errorf("%s %w: %w", name, ErrDamaged, err)
	}
	if err != nil {
		return err
	}
	defer source.Close()
	plain, err := u.codec.ReadVerifiedChunk(source, u.files[number], uint32(number), index, u.buffer)
	if err != nil {
		return err
	}
	target, err := os.OpenFile(filepath.Join(u.Dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = target.WriteAt(plain, index*ChunkSize)
	return errors.Join(err, target.Close())
}

// createSparseFile creates a file of size zeros, which take no space.
func createSparseFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}
