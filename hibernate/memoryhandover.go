package hibernate

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"dormouse/hibernate/pack"
)

// memoryHandover is what a process must know to read the memory of an image.
type memoryHandover struct {
	// Key and PackingKey are the keys of the store.
	Key        []byte       `json:"key"`
	PackingKey []byte       `json:"packingKey,omitempty"`
	ID         string       `json:"id"`
	Packing    *pack.Format `json:"packing,omitempty"`
	Files      []pack.File  `json:"files"`
}

// HandOver returns what ReceiveMemory needs in another process, see Memory.
func (m *imageMemory) HandOver() (text json.RawMessage, pageFiles []*os.File, err error) {
	for _, f := range m.from.Files {
		if isPageFile(f.Name) {
			pageFiles = append(pageFiles, m.files[f.Name].File)
		}
	}
	text, err = json.Marshal(m.from)
	return text, pageFiles, err
}

// ReceiveMemory returns the memory of which another process has called HandOver: the text,
// and the page files in the same order. The Memory closes the files; after an error they
// are closed already.
func ReceiveMemory(text json.RawMessage, files []*os.File) (Memory, error) {
	nextFile := func(string) (*os.File, error) {
		if len(files) == 0 {
			return nil, errors.New("it has more files than were handed over")
		}
		f := files[0]
		files = files[1:]
		return f, nil
	}
	var from memoryHandover
	var m *imageMemory
	err := json.Unmarshal(text, &from)
	if err == nil {
		m, err = openImageMemory(from, nextFile)
	}
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot take over the memory of an image: %w", err)
	}
	return m, nil
}
