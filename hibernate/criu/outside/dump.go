package outside

import (
	"context"
	"fmt"
	"os"

	"dormouse/hibernate/criu/images"
	"dormouse/internal/filenames"
	"dormouse/internal/procfs"
)

// Dump is one dump of a tree, and the links that it makes outside of the image.
type Dump struct {
	trace  dumpTrace
	note   string // as in Attempt
	unlock func()
}

// dumpTrace says what is to be removed after a dump that failed.
type dumpTrace struct {
	ImageID string      `json:"imageId"`
	Places  []linkPlace `json:"places"`
}

// linkPlace is a directory in which a dump may make a link to the file.
type linkPlace struct {
	file
	Dir string `json:"dir"`
}

// BeginDump prepares a dump of the processes: it removes what an earlier dump has left, and
// notes in noteDir what this one may leave. It locks the directories of the links, and lockToo,
// see LockDirs. The caller must call KeepFiles after a successful dump, and Undo otherwise or
// after an error of KeepFiles.
func BeginDump(ctx context.Context, pids []int, imageID string, lockToo []string, noteDir string) (*Dump, error) {
	d := &Dump{trace: dumpTrace{imageID, findPlaces(pids)}}
	for _, place := range d.trace.Places {
		lockToo = append(lockToo, place.Dir)
	}
	var err error
	if d.unlock, err = LockDirs(ctx, lockToo); err != nil {
		return nil, err
	}
	if len(d.trace.Places) == 0 {
		return d, nil
	}
	d.trace.removeLinks()
	if d.note, err = writeNote(noteDir, note{Dump: &d.trace}); err != nil {
		d.unlock()
		return nil, err
	}
	return d, nil
}

// findPlaces returns where a dump of the processes makes links.
func findPlaces(pids []int) (places []linkPlace) {
	for _, f := range procfs.UnlinkedFiles(pids) {
		places = append(places, linkPlace{file{f.Device, f.Inode}, nearestDir(f.Path)})
	}
	return places
}

// removeLinks removes all links that a dump has made to the files.
func (t *dumpTrace) removeLinks() {
	for _, place := range t.Places {
		for _, prefix := range []string{linkPrefix, keptPrefix + t.ImageID + "-"} {
			links, _ := filenames.PathsIn(place.Dir, prefix, "")
			for _, link := range links {
				place.removeIf(link)
			}
		}
	}
}

// KeepFiles ends a dump that has succeeded, and that has stopped the processes. It notes in
// the image in imageDir which files they have open. It gives the links that the image needs
// names of their own, under which they stay while the tree sleeps, and tells the names to
// willKeep first.
func (d *Dump) KeepFiles(imageDir, imageID string, pids []int, willKeep func(paths []string) error) error {
	needs, err := images.ReadOutside(imageDir)
	if err == nil {
		err = writeNames(imageDir, pids)
	}
	if err == nil {
		err = keepLinks(needs.Remaps, imageID, willKeep)
	}
	if err != nil {
		return err
	}
	removeNote(d.note)
	d.unlock()
	return nil
}

// keepLinks gives the links of the remaps their names, and tells them to willKeep first.
func keepLinks(remaps []images.Remap, imageID string, willKeep func(paths []string) error) error {
	var links, kept []string
	for _, r := range remaps {
		if r.Link != "" {
			links, kept = append(links, r.Link), append(kept, keptPath(r.Link, imageID))
		}
	}
	if len(links) == 0 {
		return nil
	}
	if willKeep != nil {
		if err := willKeep(kept); err != nil {
			return err
		}
	}
	for i := range links {
		if err := os.Rename(links[i], kept[i]); err != nil {
			return fmt.Errorf("cannot keep a file that the image needs: %w", err)
		}
	}
	return nil
}

// Undo ends a dump of the processes that has failed: it removes the links that the dump has
// made, also to files that lost their names after BeginDump.
func (d *Dump) Undo(pids []int) {
	d.trace.Places = append(d.trace.Places, findPlaces(pids)...)
	d.trace.removeLinks()
	removeNote(d.note)
	d.unlock()
}
