package tomltable

import "github.com/BurntSushi/toml"

// keyLines is the line of a key or table in a file, with the lines of the keys below it.
// It exists because the TOML library does not return the lines of keys.
type keyLines struct {
	line     int
	keys     map[string]*keyLines
	elements []*keyLines // one for each header, if the headers are written [[key]]
}

// linesOfKeys returns the lines of all keys of a document, which must be valid TOML. keys
// are the keys that the TOML library returned for the document, in their order.
func linesOfKeys(doc string, keys []toml.Key) *keyLines {
	top := &keyLines{line: 1}
	for i, start := range findKeyStarts(doc) {
		if i == len(keys) {
			break
		}
		at := top
		for _, name := range keys[i] {
			at = at.childOrNew(name, start.line)
		}
		if start.element {
			at.elements = append(at.elements, &keyLines{line: start.line})
		}
	}
	return top
}

// childOrNew returns the entry of the key of that name below k, or below the last table if k
// is an array of tables. It creates a missing entry with that line.
func (k *keyLines) childOrNew(name string, line int) *keyLines {
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

// keyOrSelf returns the entry of the key of that name below k, or k if there is none.
func (k *keyLines) keyOrSelf(name string) *keyLines {
	if child, ok := k.keys[name]; ok {
		return child
	}
	return k
}

// elementOrSelf returns the entry of the i-th table of the array k, or k if the array is
// not written with headers such as [[plugin]].
func (k *keyLines) elementOrSelf(i int) *keyLines {
	if i < len(k.elements) {
		return k.elements[i]
	}
	return k
}
