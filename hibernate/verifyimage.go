package hibernate

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"dormouse/hibernate/pack"
	"dormouse/internal/regularfile"
)

// pagesPrefix begins the names of the files that hold memory and nothing that an engine
// interprets.
const pagesPrefix = "pages-"

// isPageFile reports whether the file of that name in an image holds nothing but memory.
func isPageFile(name string) bool { return strings.HasPrefix(name, pagesPrefix) }

// newTagger returns the tagger that verifies the files of the image.
func (i *Image) newTagger() (pack.Tagger, error) {
	return pack.NewTagger(i.dir.store.key, i.manifest.ID)
}

// CheckFitsHost returns an ErrChanged unless the engine, the kernel and the code are those that
// the image was made with, and an ErrKey if only the image's key is missing.
func (i *Image) CheckFitsHost(e Engine) error {
	m := &i.manifest
	if now := e.Name(); m.Engine != now {
		return fmt.Errorf("%w: it was made by %s, installed is %s", ErrChanged, m.Engine, now)
	}
	if now := kernelRelease(); m.Kernel != now {
		return fmt.Errorf("%w: it was made under kernel %s, running is %s", ErrChanged, m.Kernel, now)
	}
	t, err := i.newTagger()
	if err != nil {
		return err
	}
	if err := checkCodeUnchanged(m.Code, t); err != nil {
		return err
	}
	return i.CheckHostHasKey()
}

// verifyAllButMemory verifies that the image fits the host, and everything in it but the
// memory. Of the files of a packed image it verifies the sizes; the rest is verified when
// they are unpacked.
func (i *Image) verifyAllButMemory(e Engine) error {
	if err := i.CheckFitsHost(e); err != nil {
		return err
	}
	if err := i.checkFileNamesAndSizes(); err != nil || i.manifest.Packing != nil {
		return err
	}
	return i.verifyFiles(func(name string) bool { return !isPageFile(name) })
}

// missingAsRefused makes the error of a file that does not exist, or is not a regular file,
// an ErrRefused too: a file of the image is missing. It returns other errors as they are, since
// they say nothing about the image: the host may lack descriptors, or the disk may not answer.
func missingAsRefused(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, regularfile.ErrNotRegular) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// checkFileNamesAndSizes returns an ErrRefused if a file is missing, has another size or does
// not belong to the image. An engine would wait for ever for the rest of a shortened page
// file.
func (i *Image) checkFileNamesAndSizes() error {
	entries, err := os.ReadDir(i.path())
	if err != nil {
		return missingAsRefused(err)
	}
	sizes := make(map[string]int64)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return missingAsRefused(err)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%w: %s is not a regular file", ErrRefused, entry.Name())
		}
		sizes[entry.Name()] = info.Size()
	}
	delete(sizes, manifestName)
	for _, f := range i.manifest.Files {
		size, ok := sizes[f.Name]
		if !ok {
			return fmt.Errorf("%w: %s is missing", ErrRefused, f.Name)
		}
		if size != f.StoredSize() {
			return fmt.Errorf("%w: %s has %d bytes, not %d", ErrRefused, f.Name, size, f.StoredSize())
		}
		delete(sizes, f.Name)
	}
	for name := range sizes {
		return fmt.Errorf("%w: %s does not belong to it", ErrRefused, name)
	}
	return nil
}

// verifyFiles reads the files that isWanted selects, and returns an ErrRefused if one of
// them has changed.
func (i *Image) verifyFiles(isWanted func(name string) bool) error {
	t, err := i.newTagger()
	if err != nil {
		return err
	}
	for number, f := range i.manifest.Files {
		if !isWanted(f.Name) {
			continue
		}
		if err := i.verifyFile(t, uint32(number), f); err != nil {
			return err
		}
	}
	return nil
}

// verifyFile reads one file, the one with that number in the manifest, and returns an
// ErrRefused if the file has changed.
func (i *Image) verifyFile(t pack.Tagger, number uint32, want pack.File) error {
	f, err := regularfile.Open(i.path(want.Name))
	if err != nil {
		return missingAsRefused(err)
	}
	defer f.Close()
	got, err := t.TagFile(f, number, want.Size)
	if err != nil {
		return fmt.Errorf("%s: %w", want.Name, damagedAsRefused(err))
	}
	if !bytes.Equal(got, want.Tag) {
		return fmt.Errorf("%w: %s is damaged", ErrRefused, want.Name)
	}
	return nil
}
