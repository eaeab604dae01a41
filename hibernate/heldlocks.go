package hibernate

import (
	"errors"
	"sync"

	"dormouse/hibernate/descriptors"
)

// heldLocks are the locks of files that this host holds for sleeping trees, by the paths of
// their images. They are held until the image is restored or goes away, or the host ends.
type heldLocks struct {
	mu      sync.Mutex
	byImage map[string]*descriptors.HeldLocks
}

// keep notes that the locks are held for the image.
func (h *heldLocks) keep(imagePath string, locks *descriptors.HeldLocks) {
	if locks == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byImage == nil {
		h.byImage = make(map[string]*descriptors.HeldLocks)
	}
	h.byImage[imagePath] = locks
}

// of returns the locks that are held for the image, nil if there are none.
func (h *heldLocks) of(imagePath string) *descriptors.HeldLocks {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byImage[imagePath]
}

// giveUp gives the locks up that are held for the image.
func (h *heldLocks) giveUp(imagePath string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	locks := h.byImage[imagePath]
	delete(h.byImage, imagePath)
	return locks.Close()
}

// giveAllUp gives up all locks that are held.
func (h *heldLocks) giveAllUp() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, locks := range h.byImage {
		errs = append(errs, locks.Close())
	}
	h.byImage = nil
	return errors.Join(errs...)
}
