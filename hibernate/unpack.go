package hibernate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// unpack makes the files of a packed image again, in memory. Of the page files
// lazy makes the sizes only, and returns how a chunk of one is put there.
func (i *Image) unpack(t tagger, lazy bool) (_ *stage, provide func(name string, place int64) error, err error) {
	p, err := i.manifest.packer(i.slot.store, t)
	if err != nil {
		return nil, nil, err
	}
	s, err := newStage(i.unpacked())
	if err != nil && i.manifest.Packing.Key == nil {
		s, err = stageOnDisk(i.slot)
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	buffer := make([]byte, chunk)
	provide = func(name string, place int64) error {
		for number, f := range i.manifest.Files {
			if f.Name == name {
				return i.unpackChunk(p, s, number, place, buffer)
			}
		}
		return fmt.Errorf("%w: it has no %s", ErrRefused, name)
	}
	for _, f := range i.manifest.Files {
		if err := createSized(filepath.Join(s.dir, f.Name), f.Size); err != nil {
			return nil, nil, err
		}
		if lazy && strings.HasPrefix(f.Name, pagesPrefix) {
			continue
		}
		for place := range int64(len(f.Tag) / tagSize) {
			if err := provide(f.Name, place); err != nil {
				return nil, nil, err
			}
		}
	}
	return s, provide, nil
}

// unpacked is what the files take, in whole pages.
func (i *Image) unpacked() int64 {
	page := int64(os.Getpagesize())
	total := int64(margin)
	for _, f := range i.manifest.Files {
		total += (f.Size + page - 1) / page * page
	}
	return total
}

func (i *Image) unpackChunk(p *packer, s *stage, number int, place int64, buffer []byte) error {
	f := i.manifest.Files[number]
	source, err := os.Open(i.slot.path(imageName, f.Name))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	defer source.Close()
	plain, err := p.open(source, f, uint32(number), place, buffer)
	if err != nil {
		return err
	}
	target, err := os.OpenFile(filepath.Join(s.dir, f.Name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = target.WriteAt(plain, place*chunk)
	return errors.Join(err, target.Close())
}

func createSized(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}
