package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
)

// imagesCheckVerb returns the action that lists the sleeping instances which can't be woken, or
// could not be after an update, and fails if there is one.
func imagesCheckVerb(flags *flag.FlagSet) action {
	open, format := addImageStoreFlags(flags), addFormatFlag(flags)
	against := flags.Bool("against", false, "check against an update that replaces or removes each FILE")
	kernel := flags.String("kernel", "", "check against a boot of the kernel `RELEASE`, as uname -r would print it")
	return func(_ context.Context, t *terminal, files []string) error {
		if *against != (len(files) > 0) {
			return &usageError{err: errors.New("--against and FILE come together")}
		}
		store, err := open()
		if err != nil {
			return err
		}
		update, err := store.plannedUpdate(t.in, *kernel, files)
		if err != nil {
			return err
		}
		found, err := store.sleepersLostBy(update)
		if err != nil {
			return err
		}
		verdict := errReportedUnless(len(found) == 0)
		if format.isJSON() {
			records := make([]imageRecord, len(found))
			for i, e := range found {
				records[i] = imageRecordOf(e)
			}
			return errors.Join(t.printIndentedJSON(records), verdict)
		}
		if len(found) > 0 {
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

// sleepersLostBy returns the images of sleeping instances that can't be woken now or could not
// be after the update, each with the cause.
func (s imageStore) sleepersLostBy(u *hibernate.PlannedUpdate) (lost []hibernate.CatalogEntry, err error) {
	all, err := s.entries()
	for _, e := range all {
		if !e.IsSleep() {
			continue
		}
		if e.WhyUnusable == nil {
			e.WhyUnusable = e.Image.CheckFitsAfter(u)
		}
		if e.WhyUnusable != nil {
			lost = append(lost, e)
		}
	}
	return lost, err
}
