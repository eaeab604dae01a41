package hibernate

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// moved is what another process must know to read the memory of an image.
type moved struct {
	// Key and PackingKey are the store's.
	Key        []byte   `json:"key"`
	PackingKey []byte   `json:"packingKey,omitempty"`
	ID         string   `json:"id"`
	Packing    *packing `json:"packing,omitempty"`
	Files      []file   `json:"files"`
}

// Move tells ReceiveMemory what it must know, see MovableMemory.
func (m *memory) Move() (json.RawMessage, []*os.File, error) {
	i := m.image
	var open []*os.File
	for _, f := range i.manifest.Files {
		if strings.HasPrefix(f.Name, pagesPrefix) {
			open = append(open, m.files[f.Name].File)
		}
	}
	text, err := json.Marshal(moved{
		Key: i.slot.store.key, PackingKey: i.slot.store.packing.Key,
		ID: i.manifest.ID, Packing: i.manifest.Packing, Files: i.manifest.Files,
	})
	return text, open, err
}

// ReceiveMemory is the memory that another process has moved to this one. The
// files are the memory's, also after an error.
func ReceiveMemory(text json.RawMessage, files []*os.File) (Memory, error) {
	next := func(string) (*os.File, error) {
		if len(files) == 0 {
			return nil, errors.New("it has more files than were handed over")
		}
		f := files[0]
		files = files[1:]
		return f, nil
	}
	var from moved
	err := json.Unmarshal(text, &from)
	var t tagger
	if err == nil {
		t, err = newTagger(from.Key, from.ID)
	}
	var m *memory
	if err == nil {
		store := &Store{key: from.Key, packing: Packing{Key: from.PackingKey}}
		i := &Image{slot: store.Slot(""), manifest: manifest{ID: from.ID, Packing: from.Packing, Files: from.Files}}
		m, err = i.memoryOf(t, next)
	}
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot take over the memory of an image: %w", err)
	}
	return m, nil
}
