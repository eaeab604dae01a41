package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
)

// imagesCheckVerb returns the action that lists the sleeping instances which can't be woken, or
// could not be after an update, and fails if there is one.
func imagesCheckVerb(flags *flag.FlagSet) action {
	open, format := addImageStoreFlags(flags), addFormatFlag(flags)
	against := flags.Bool("against", false, "check against an update that replaces or removes each FILE")
	names := flags.Bool("names", false, "print nothing but the names of the plugins, one a line")
	kernel := flags.String("kernel", "", "check against a boot of the kernel `RELEASE`, as uname -r would print it")
	return func(_ context.Context, t *terminal, files []string) error {
		if *against != (len(files) > 0) {
			return &usageError{err: errors.New("--against and FILE come together")}
		}
		store, err := open()
		if err != nil {
			return err
		}
		lost := store.lostSleepers
		if *against || *kernel != "" {
			lost = func() ([]hibernate.CatalogEntry, error) { return store.sleepersLostBy(t.in, *kernel, files) }
		}
		found, err := lost()
		if err != nil {
			return err
		}
		if store.catalog == nil {
			t.printErrf("There are no images in %s. A host with another root needs its --root here.\n", store.dir)
		}
		verdict := errReportedUnless(len(found) == 0)
		switch {
		case format.isJSON():
			records := make([]imageRecord, len(found))
			for i, e := range found {
				records[i] = imageRecordOf(e)
			}
			return errors.Join(t.printIndentedJSON(records), verdict)
		case *names:
			for _, e := range found {
				t.printf("%s\n", e.Callsign)
			}
		case len(found) > 0:
			t.printf("%s", imageTable(found).alignedText(t.width))
		}
		return verdict
	}
}

// plannedUpdate returns the update that replaces the files: PATH, PATH=NEWFILE, or - for the
// lines of in. A kernel of "" stays.
func (s imageStore) plannedUpdate(in io.Reader, kernel string, files []string) (*hibernate.PlannedUpdate, error) {
	u := &hibernate.PlannedUpdate{}
	for _, file := range files {
		if file != "-" {
			addPlannedFile(u, file)
			continue
		}
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" {
				addPlannedFile(u, line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("cannot read the files of the update: %w", err)
		}
	}
	if kernel != "" {
		u.Kernel = kernel
	}
	if newCRIU, isReplaced := u.NewFile(s.engine.Path()); isReplaced && s.engine.Path() != "" {
		u.Engine = "another CRIU"
		if next := criu.Open(newCRIU, ""); newCRIU != "" && next.WhyNotFound() == nil {
			u.Engine = next.Name()
		}
	}
	return u, nil
}

// addPlannedFile adds PATH or PATH=NEWFILE to the update.
func addPlannedFile(u *hibernate.PlannedUpdate, file string) {
	path, newPath, _ := strings.Cut(file, "=")
	u.AddFile(path, newPath)
}

// lostSleepers returns the images of sleeping instances that can't be woken any more, each
// with the cause.
func (s imageStore) lostSleepers() ([]hibernate.CatalogEntry, error) {
	all, err := s.entries()
	return slices.DeleteFunc(all, func(e hibernate.CatalogEntry) bool { return !e.IsSleep() || e.WhyUnusable == nil || isKeyMissing(e) }), err
}

// isKeyMissing reports whether the image is encrypted and this program lacks the key, which the
// host may have: as a credential of its service, for one.
func isKeyMissing(e hibernate.CatalogEntry) bool { return errors.Is(e.WhyUnusable, hibernate.ErrKey) }

// sleepersLostBy returns the images of sleeping instances that can be woken now, but not after
// the update, each with the cause. The parameters are those of plannedUpdate.
func (s imageStore) sleepersLostBy(in io.Reader, kernel string, files []string) (lost []hibernate.CatalogEntry, err error) {
	update, err := s.plannedUpdate(in, kernel, files)
	if err != nil {
		return nil, err
	}
	all, err := s.entries()
	for _, e := range all {
		if !e.IsSleep() || e.WhyUnusable != nil && !isKeyMissing(e) {
			continue
		}
		if e.WhyUnusable = e.Image.CheckFitsAfter(update); e.WhyUnusable != nil {
			lost = append(lost, e)
		}
	}
	return lost, err
}
