package configs

import "github.com/BurntSushi/toml"

// keyLines is the line of a key or table in a file, with the lines of the keys below it.
// The TOML library returns every key of a file in order, but without its line.
type keyLines struct {
	line     int
	keys     map[string]*keyLines
	elements []*keyLines // one for each header, if the table is written [[so]]
}

// linesOfKeys returns the lines of all keys of a document that the library accepted.
// keys are the keys that the library returned.
func linesOfKeys(doc string, keys []toml.Key) *keyLines {
	top := &keyLines{line: 1}
	for i, start := range findKeyStarts(doc) {
		if i == len(keys) {
			break
		}
		at := top
		for _, name := range keys[i] {
			at = at.addChild(name, start.line)
		}
		if start.element {
			at.elements = append(at.elements, &keyLines{line: start.line})
		}
	}
	return top
}

// addChild returns the entry of a key below k, and creates it with that line if there
// is none.
func (k *keyLines) addChild(name string, line int) *keyLines {
	if n := len(k.elements); n > 0 {
		k = k.elements[n-1]
	}
	child, ok := k.keys[name]
	if !ok {
		if k.keys == nil {
			k.keys = make(map[string]*keyLines)
		}
		child = &keyLines{line: line}
		k.keys[name] = child
	}
	return child
}

// keyOrSelf returns the entry of a key below k, or k if the line of that key is not known.
func (k *keyLines) keyOrSelf(name string) *keyLines {
	if child, ok := k.keys[name]; ok {
		return child
	}
	return k
}

// elementOrSelf returns the entry of the i-th table of an array, or k if the array is not
// written with headers.
func (k *keyLines) elementOrSelf(i int) *keyLines {
	if i < len(k.elements) {
		return k.elements[i]
	}
	return k
}
