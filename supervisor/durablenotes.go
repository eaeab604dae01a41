package supervisor

import (
	"reflect"
	"sync"

	"github.com/rs/zerolog"

	"dormouse/internal/store"
)

// durableNotes keeps one note on disk for each name (a callsign, or a subsystem), for the
// next host. Each save writes the note that is current then, so the order of two saves of
// one name does not matter.
type durableNotes[T any] struct {
	store.Bucket[T]
	// current returns the note that should be on disk now, or false for none.
	current func(name string) (T, bool)
	// log reports notes that could not be saved, with failure as the message.
	log     zerolog.Logger
	key     string // of the name in the log
	failure string

	writing sync.Mutex
}

// saveOrDeleteNote writes the current note of that name to disk, or deletes the note on
// disk if there is no current one. It logs a failure, and reports whether there was none.
func (k *durableNotes[T]) saveOrDeleteNote(name string) (ok bool) {
	k.writing.Lock()
	defer k.writing.Unlock()
	old, found, err := k.Get(name)
	note, wanted := k.current(name)
	switch {
	case err != nil:
	case wanted && (!found || !reflect.DeepEqual(old, note)):
		err = k.Put(name, note)
	case !wanted && found:
		err = k.Delete(name)
	}
	if err != nil {
		k.log.Error().Err(err).Str(k.key, name).Msg(k.failure)
	}
	return err == nil
}

// deleteNote deletes the note on disk. The caller has made sure that none is current.
func (k *durableNotes[T]) deleteNote(name string) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	return k.Delete(name)
}
