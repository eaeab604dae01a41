package output

import (
	"encoding/binary"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// growths is the growthWatch of this process.
var growths growthWatch

// growthWatch tells the readers of files when these have grown. All share one inotify
// instance, of which a user may have few (fs.inotify.max_user_instances, often 128). It is
// open while any file is watched.
type growthWatch struct {
	mu       sync.Mutex
	instance *inotifyInstance // nil while no file is watched
	// grown has, by the number of a watch, the channels of the readers of that file.
	grown map[int32][]chan struct{}
}

// inotifyInstance is an inotify instance and the goroutine that reads its events.
type inotifyInstance struct {
	fd    int
	file  *os.File
	ended chan struct{} // closed when the goroutine has ended
}

// add watches the file at path until remove is called. After the file has grown grown has a
// value.
func (w *growthWatch) add(path string) (grown <-chan struct{}, remove func(), err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.instance == nil {
		if err := w.openInstance(); err != nil {
			return nil, nil, err
		}
	}
	wd, err := unix.InotifyAddWatch(w.instance.fd, path, unix.IN_MODIFY)
	if err != nil {
		w.closeInstanceIfUnused()
		return nil, nil, os.NewSyscallError("inotify_add_watch", err)
	}
	number, channel := int32(wd), make(chan struct{}, 1)
	w.grown[number] = append(w.grown[number], channel)
	return channel, func() { w.remove(number, channel) }, nil
}

// remove ends the watch for one reader, and returns when no goroutine is left if it was the
// last one.
func (w *growthWatch) remove(number int32, channel chan struct{}) {
	w.mu.Lock()
	rest := slices.DeleteFunc(w.grown[number], func(c chan struct{}) bool { return c == channel })
	if w.grown[number] = rest; len(rest) == 0 {
		delete(w.grown, number)
		_, _ = unix.InotifyRmWatch(w.instance.fd, uint32(number)) // the file may be gone, and its watch with it
	}
	closed := w.closeInstanceIfUnused()
	w.mu.Unlock()
	if closed != nil {
		<-closed.ended
	}
}

// openInstance opens the inotify instance and begins to read its events.
func (w *growthWatch) openInstance() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init", err)
	}
	i := &inotifyInstance{fd, os.NewFile(uintptr(fd), "inotify"), make(chan struct{})}
	w.instance, w.grown = i, make(map[int32][]chan struct{})
	go func() {
		defer close(i.ended)
		events := make([]byte, 64<<10)
		for {
			n, err := i.file.Read(events)
			if err != nil {
				return // closeInstanceIfUnused has closed it
			}
			w.tellReaders(i, events[:n])
		}
	}()
	return nil
}

// closeInstanceIfUnused closes the inotify instance if no file is watched, and returns it then.
func (w *growthWatch) closeInstanceIfUnused() (closed *inotifyInstance) {
	if len(w.grown) > 0 {
		return nil
	}
	closed, w.instance = w.instance, nil
	_ = closed.file.Close() // its goroutine ends then
	return closed
}

// tellReaders tells the readers of the files that the events of the instance are about, see
// inotify(7). If events were lost, it tells all.
func (w *growthWatch) tellReaders(from *inotifyInstance, events []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.instance != from {
		return
	}
	for len(events) >= unix.SizeofInotifyEvent {
		number, mask := int32(binary.NativeEndian.Uint32(events)), binary.NativeEndian.Uint32(events[4:])
		length := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		events = events[min(length, len(events)):]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			for _, readers := range w.grown {
				tell(readers)
			}
		}
		tell(w.grown[number])
	}
}

// tell puts a value into each channel that has none.
func tell(channels []chan struct{}) {
	for _, c := range channels {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
