// Package spawn keeps process starts of the host apart from moments in which
// descriptors without close-on-exec exist. Such a descriptor, leaked into a
// plugin, would make a checkpoint of it fail.
package spawn

import "sync"

var starting sync.Mutex

// Exclusive runs start while no other process of the host is being started
// through this package.
func Exclusive(start func() error) error {
	starting.Lock()
	defer starting.Unlock()
	return start()
}
