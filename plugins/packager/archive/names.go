package archive

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"dormouse/internal/ownedtree"
)

// Bounds of names, in bytes and in directories.
const (
	maxName = 255
	maxPath = 1024
	maxDeep = 32
)

// checkCharacters refuses a name that other programs could read as another.
func checkCharacters(name string) error {
	switch {
	case !utf8.ValidString(name):
		return refuse(name, "its name is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return refuse(name, "its name has a control character")
	case strings.Contains(name, `\`):
		return refuse(name, `its name has a "\"`)
	case len(name) > maxPath:
		return refuse(shortened(name), "its name has more than %d bytes", maxPath)
	}
	return nil
}

// cleanName returns the name of a file as it is below the top directory, "" for that
// directory itself. A name that could mean another file elsewhere is refused.
func cleanName(name string) (string, error) {
	if err := checkCharacters(name); err != nil {
		return "", err
	}
	if strings.HasPrefix(name, "/") {
		return "", refuse(name, "its name is absolute")
	}
	clean := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if clean == "" || clean == "." {
		return "", nil
	}
	parts := strings.Split(clean, "/")
	for _, part := range parts {
		switch {
		case part == "..":
			return "", refuse(name, `its name has ".."`)
		case part == "" || part == ".":
			return "", refuse(name, "its name has an empty part")
		case len(part) > maxName:
			return "", refuse(shortened(name), "its name has a part of more than %d bytes", maxName)
		}
	}
	if len(parts) > maxDeep {
		return "", refuse(shortened(name), "it is in more than %d directories", maxDeep-1)
	}
	if parts[0] == ownedtree.MarkName {
		return "", refuse(name, "that name is the host's own")
	}
	return clean, nil
}

// shortened returns the beginning of a name, for an error about its length.
func shortened(name string) string {
	if runes := []rune(name); len(runes) > 64 {
		return string(runes[:64]) + "…"
	}
	return name
}

// foldCase returns the name as it is compared without regard to case.
func foldCase(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// parents returns the directories that a name is in, from the top.
func parents(name string) (dirs []string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		dirs = append([]string{dir}, dirs...)
	}
	return dirs
}
