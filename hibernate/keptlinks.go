package hibernate

import (
	"io/fs"
	"os"
	"path/filepath"

	"dormouse/internal/ownedtree"
)

// An image may need files of its tree that have lost the names by which the tree opened them.
// An engine keeps such a file by a link beside it. The manifest lists the links, and whatever
// ends the image removes them. Until there is a manifest, a note beside the draft lists them.

// linksSuffix ends the name of the note beside a draft.
const linksSuffix = ".links"

// noteLinks puts the links that the engine is about to make for the draft into its manifest,
// and into the note.
func (c *checkpoint) noteLinks(links []string) error {
	c.manifest.Links = links
	return writeSealedJSON(c.draft+linksSuffix, c.dir.store.key, links)
}

// removeNoteOfLinks removes the note, if there is one: the sealed manifest has the links.
func (c *checkpoint) removeNoteOfLinks() error {
	if c.manifest.Links == nil {
		return nil
	}
	return os.Remove(c.draft + linksSuffix)
}

// undoLinks removes the links that the engine has made for the draft, and the note.
func (c *checkpoint) undoLinks() {
	if c.manifest != nil && c.manifest.Links != nil {
		removeLinks(c.manifest.Links)
		_ = os.Remove(c.draft + linksSuffix)
	}
}

// removeLinks removes those of the links that there are.
func removeLinks(links []string) {
	for _, link := range links {
		_ = os.Remove(link) // a directory that is no longer mounted has it still
	}
}

// removeWithLinks deletes the file or directory at path with all in it, and first the links
// of the images in it and of a note there.
func removeWithLinks(path string, key []byte) error {
	_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, walkErr error) error {
		var links []string
		switch {
		case walkErr != nil || entry.IsDir():
		case filepath.Base(path) == manifestName:
			var m manifest
			if readSealedJSON(path, key, &m) == nil { // only what this host wrote is believed
				links = m.Links
			}
		case filepath.Ext(path) == linksSuffix:
			_ = readSealedJSON(path, key, &links)
		}
		removeLinks(links)
		return nil //nolint:nilerr // what can't be read has no links to remove
	})
	return ownedtree.Remove(path)
}
