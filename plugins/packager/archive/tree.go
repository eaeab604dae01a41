package archive

import (
	"crypto/sha256"
	"maps"
	"path"
	"slices"
	"strings"
)

// tree is the files of a package by their names, as far as they are known.
type tree struct {
	entries map[string]*entry
	folded  map[string]string // from names without regard to case
}

// entry is a file, link or directory of a package.
type entry struct {
	kind   kind
	target string            // of a link, as it is written
	sum    [sha256.Size]byte // of a file
	named  bool              // a directory has an entry of its own
}

type kind int

const (
	kindDir kind = iota
	kindFile
	kindLink
)

// add adds an entry and the directories that it is in. A name that is taken, also by one that
// differs in case only, is refused.
func (t *tree) add(name string, e *entry) error {
	if t.entries == nil {
		t.entries, t.folded = make(map[string]*entry), make(map[string]string)
	}
	for _, dir := range parents(name) {
		if err := t.claim(dir); err != nil {
			return err
		}
		if parent, known := t.entries[dir]; !known {
			t.entries[dir] = &entry{kind: kindDir}
		} else if parent.kind != kindDir {
			return refuse(name, "it is below %q, which is not a directory", dir)
		}
	}
	if err := t.claim(name); err != nil {
		return err
	}
	if had, known := t.entries[name]; known && (e.kind != kindDir || had.kind != kindDir || had.named) {
		return refuse(name, "it is there twice")
	}
	t.entries[name] = e
	return nil
}

// claim notes the name, or refuses one that differs from another in case only.
func (t *tree) claim(name string) error {
	folded := foldCase(name)
	if other, known := t.folded[folded]; known && other != name {
		return refuse(name, "its name differs from that of %q in case only", other)
	}
	t.folded[folded] = name
	return nil
}

// maxLinks is how many links in a row are followed, as in Linux.
const maxLinks = 40

// resolve returns the file that a link leads to. A link that leaves the package, leads
// nowhere, in a circle or to a directory is refused: SHA256SUMS could not vouch for it.
func (t *tree) resolve(name string) (string, *entry, error) {
	at, rest, links := path.Dir(name), t.entries[name].target, 0
	for rest != "" {
		part, after, _ := strings.Cut(rest, "/")
		rest = after
		switch {
		case part == "" || part == ".":
			continue
		case part == ".." && at == ".":
			return "", nil, refuse(name, "it is a link to %q, which is outside of the package", t.entries[name].target)
		case part == "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		e, known := t.entries[next]
		switch {
		case !known:
			return "", nil, refuse(name, "it is a link to %q, which is not in the package", t.entries[name].target)
		case e.kind == kindLink:
			if links++; links > maxLinks {
				return "", nil, refuse(name, "it is a link that leads to no file after %d others", maxLinks)
			}
			rest = strings.TrimSuffix(e.target+"/"+rest, "/")
		case e.kind == kindFile && rest != "":
			return "", nil, refuse(name, "it is a link through %q, which is not a directory", next)
		default:
			at = next
		}
	}
	if at == "." || t.entries[at].kind != kindFile {
		return "", nil, refuse(name, "it is a link to a directory, for which SHA256SUMS can't vouch; put the files there")
	}
	return at, t.entries[at], nil
}

// sums returns the SHA-256 of each file by name, those of links being those of the files that
// they lead to. SHA256SUMS and its signature are left out.
func (t *tree) sums() (map[string][sha256.Size]byte, error) {
	all := make(map[string][sha256.Size]byte)
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		switch e := t.entries[name]; {
		case name == SumsName || name == SignatureName:
			if e.kind != kindFile {
				return nil, refuse(name, "it is not a regular file")
			}
		case e.kind == kindFile:
			all[name] = e.sum
		case e.kind == kindLink:
			_, file, err := t.resolve(name)
			if err != nil {
				return nil, err
			}
			all[name] = file.sum
		}
	}
	return all, nil
}

// checkTarget refuses the target of a link that is absolute, or has characters that names must
// not have.
func checkTarget(name, target string) error {
	if target == "" || strings.HasPrefix(target, "/") {
		return refuse(name, "it is a link to %q, which is absolute or empty", target)
	}
	if checkCharacters(target) != nil {
		return refuse(name, "it is a link to %q, which is not a name that a file may have", target)
	}
	return nil
}
