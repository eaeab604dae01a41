package configs

// ReferenceKind says what a Reference is.
type ReferenceKind int

// The kinds of references. A program without a slash in its name is looked up in PATH.
const (
	ReferenceProgram ReferenceKind = iota
	ReferenceFile
	ReferenceDir
	ReferenceUser  // by name or number
	ReferenceGroup // by name or number
)

// Reference is something outside of the configuration that one of its keys names and that
// must exist. The package does not look whether it does.
type Reference struct {
	Kind   ReferenceKind
	Name   string // paths are absolute
	Key    string // as "executable"
	Source string // the file
	Line   int
}

// LoadWithReferences is Load, and also returns what the files refer to: as far as they could
// be read if there is an error.
func LoadWithReferences(path string, getenv func(string) string, flags Overrides) (Config, []Reference, error) {
	l := readAndCheck(path, getenv, flags)
	l.gatherPluginsAndCheckRequires()
	config, err := l.configOrProblems()
	return config, l.references, err
}

// refersTo notes that a key of the table names something outside of the configuration. It
// does nothing if the key is missing or its value is malformed or "".
func (t *tableReader) refersTo(kind ReferenceKind, key, name string) {
	if t.Has(key) && name != "" {
		t.file.references = append(t.file.references, Reference{kind, name, key, t.file.path, t.Line(key)})
	}
}
