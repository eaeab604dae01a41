package supervisor

import (
	"reflect"
	"sync"

	"dormouse/internal/store"
)

// kept holds one durable note for each name (a callsign, or a subsystem), for the
// next host. Save writes a note as it is at that moment, so saves of one name may come
// in any order.
type kept[T any] struct {
	bucket store.Bucket[T]
	// current returns the note that should be on disk now, or false for none.
	current func(name string) (T, bool)
	// failed is called when a note could not be saved.
	failed func(name string, err error)

	writing sync.Mutex
}

// all returns every note on disk.
func (k *kept[T]) all() (map[string]T, error) { return k.bucket.All() }

// save makes the note on disk the current one, or deletes it if there is none.
func (k *kept[T]) save(name string) {
	k.writing.Lock()
	defer k.writing.Unlock()
	old, found, err := k.bucket.Get(name)
	note, wanted := k.current(name)
	switch {
	case err != nil:
	case wanted && (!found || !reflect.DeepEqual(old, note)):
		err = k.bucket.Put(name, note)
	case !wanted && found:
		err = k.bucket.Delete(name)
	}
	if err != nil {
		k.failed(name, err)
	}
}

// remove deletes the note on disk. The caller has made sure that none is current.
func (k *kept[T]) remove(name string) error {
	k.writing.Lock()
	defer k.writing.Unlock()
	return k.bucket.Delete(name)
}
