package packager

import (
	"slices"
	"strings"

	"dormouse/internal/store"
)

// startNote is what a host notes of its start for the next one.
type startNote struct {
	// Release is the release of Dormouse, without commit, whose start has come to its end.
	Release string `json:"release"`
	// First says that the first start has not come to its end: the next one goes on with it.
	First bool `json:"first,omitempty"`
	// HadFiles says that the directory of files exists since then.
	HadFiles bool `json:"hadfiles"`
	// RemovedBundled are the bundled packages that a user has removed.
	RemovedBundled []string `json:"removedbundled,omitempty"`
}

// startKey is the key of the one note in its bucket.
const startKey = "last"

// startNotes returns the bucket of the note.
func startNotes(s *store.Store) store.Bucket[startNote] {
	return store.BucketOf[startNote](s, "package-starts")
}

// release returns the release in a version: "v1.2.3" of "v1.2.3-4-gabcdef-dirty". A version that
// names no release is as it is without what says that its source had changes.
func release(version string) string {
	version = strings.TrimSuffix(version, "-dirty")
	parts := strings.Split(version, "-")
	if n := len(parts); n >= 3 && strings.HasPrefix(parts[n-1], "g") && isNumber(parts[n-2]) { // git describe
		return strings.Join(parts[:n-2], "-")
	}
	if isCommit(version) {
		return ""
	}
	return version
}

func isNumber(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// isCommit reports whether a version is the hash of a commit, of a build without a tag.
func isCommit(text string) bool {
	return len(text) >= 7 && strings.Trim(text, "0123456789abcdef") == ""
}

// changeStartNote changes the note, durably.
func (p *Packager) changeStartNote(change func(*startNote)) error {
	p.noting.Lock()
	defer p.noting.Unlock()
	notes := startNotes(p.options.Store)
	note, _, err := notes.Get(startKey)
	if err != nil {
		return err
	}
	change(&note)
	return notes.Put(startKey, note)
}

// noteBundledRemoved notes that a user has removed a bundled package, so that it does not come
// back with another version of Dormouse.
func (p *Packager) noteBundledRemoved(name string) error {
	return p.changeStartNote(func(n *startNote) {
		if !slices.Contains(n.RemovedBundled, name) {
			n.RemovedBundled = append(n.RemovedBundled, name)
		}
	})
}

// noteStartDone notes that nothing is left to do of the first start, or of the first one of another
// release: what it has to install stands in records.
func (p *Packager) noteStartDone() error {
	return p.changeStartNote(func(n *startNote) { n.Release, n.First = release(p.options.Version), false })
}
