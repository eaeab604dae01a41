package hibernate

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"dormouse/hibernate/pack"
	"dormouse/internal/procfs"
)

// format is raised when a host could misread the images of an older one.
const format = 2

// manifest says what an image is: whose, made by what, and of which files.
type manifest struct {
	Format     int       `json:"format"`
	ID         string    `json:"id"`
	Callsign   string    `json:"callsign"`
	Generation uint64    `json:"generation"` // 0 for a golden image
	Golden     bool      `json:"golden,omitempty"`
	Created    time.Time `json:"created"`
	// Uptime is the same moment on the clock of the boot, which nobody sets.
	Uptime time.Duration `json:"uptime,omitempty"`
	Engine string        `json:"engine"`
	Kernel string        `json:"kernel"`
	BootID string        `json:"bootId"`
	// Bytes is the size of all Files together.
	Bytes int64       `json:"bytes"`
	Files []pack.File `json:"files"`
	// Packing is nil when the files are stored as they are.
	Packing *pack.Format `json:"packing,omitempty"`
	// Mapped are the executable and the libraries of the tree; their contents
	// are not part of the image.
	Mapped []mappedFile            `json:"mapped"`
	Tasks  []procfs.ThreadIdentity `json:"tasks"`
	// Tuning is what no engine brings back.
	Tuning []procfs.Tuning `json:"tuning,omitempty"`
	// Droppable is memory that no two lives may have in common; see
	// procfs.DroppableSpans. Only a golden image has it.
	Droppable []procfs.Span `json:"droppable,omitempty"`
	// Stopped are the processes, numbered as in their own PID namespace, that
	// were stopped before the dump and stay so after the wake.
	Stopped []int `json:"stopped,omitempty"`
	// Record belongs to the tree's owner.
	Record json.RawMessage `json:"record"`
}

// place is the directory of the image in its slot.
func (m *manifest) place() string {
	if m.Golden {
		return goldenName
	}
	return imageName
}

func (m *manifest) kind() string {
	if m.Golden {
		return "golden"
	}
	return "ordinary"
}

// sealed is a manifest on disk: the text and a keyed digest of just that text.
type sealed struct {
	Manifest json.RawMessage `json:"manifest"`
	HMAC     []byte          `json:"hmac"`
}

// writeSealed stores v with a digest under key and makes it durable.
func writeSealed(path string, key []byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	whole, err := json.Marshal(sealed{text, mac(key, text)})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(whole)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// readSealed loads what writeSealed stored. A file that this key did not seal
// is an ErrRefused.
func readSealed(path string, key []byte, v any) error {
	whole, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var s sealed
	if err := json.Unmarshal(whole, &s); err != nil {
		return fmt.Errorf("%w: %s is damaged: %w", ErrRefused, filepath.Base(path), err)
	}
	if !hmac.Equal(s.HMAC, mac(key, s.Manifest)) {
		return fmt.Errorf("%w: %s was not written by this host, or changed since", ErrRefused, filepath.Base(path))
	}
	if err := json.Unmarshal(s.Manifest, v); err != nil {
		return fmt.Errorf("%w: cannot read %s: %w", ErrRefused, filepath.Base(path), err)
	}
	return nil
}

func mac(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}
