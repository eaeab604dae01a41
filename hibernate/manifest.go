package hibernate

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/descriptors"
	"dormouse/hibernate/pack"
	"dormouse/internal/atomicfile"
	"dormouse/internal/procfs"
	"dormouse/internal/regularfile"
)

// format is raised when a host could misread the images that an older host has made.
const format = 2

// manifest says what an image is: of which instance, made by what, and of which files.
type manifest struct {
	Format     int       `json:"format"`
	ID         string    `json:"id"`
	Callsign   string    `json:"callsign"`
	Generation uint64    `json:"generation"` // 0 for a golden image
	Golden     bool      `json:"golden,omitempty"`
	Created    time.Time `json:"created"`
	// Uptime is the time from the boot to Created.
	Uptime time.Duration `json:"uptime,omitempty"`
	Engine string        `json:"engine"`
	Kernel string        `json:"kernel"`
	BootID string        `json:"bootId"`
	// Bytes is the size of all Files together.
	Bytes int64       `json:"bytes"`
	Files []pack.File `json:"files"`
	// Packing is nil if the files are stored as they are.
	Packing *pack.Format `json:"packing,omitempty"`
	// Code are the executable, the libraries and the scripts of the tree; their contents
	// are not part of the image.
	Code []codeFile `json:"mapped"`
	// Links keep files that the image needs, see DumpOrder.WillKeep.
	Links   []string                `json:"links,omitempty"`
	Threads []procfs.ThreadIdentity `json:"tasks"`
	// Tuning are the settings of threads that engines do not restore.
	Tuning []procfs.ThreadTuning `json:"tuning,omitempty"`
	// Descriptors is what engines do not restore of open sockets and timers.
	Descriptors descriptors.Notes `json:"descriptors,omitzero"`
	// Droppable is memory that two trees from one image must not have in common;
	// see procfs.DroppableMemory. Only a golden image has such memory.
	Droppable []procfs.MemorySpan `json:"droppable,omitempty"`
	// Stopped are the processes, numbered as in their own PID namespace, that
	// were stopped before the dump and stay so after the wake.
	Stopped []int `json:"stopped,omitempty"`
	// Record is the OwnerRecord of the Tree.
	Record json.RawMessage `json:"record"`
}

// newManifest returns the manifest of the next image, without the fields that are only
// known after the dump.
func (d *ImageDir) newManifest(e Engine, t Tree, forGolden bool) (*manifest, error) {
	var generation uint64 // a golden image has none, so that it can't pass for an ordinary image
	if !forGolden {
		record, err := d.store.ensureGenerationRecord(d.callsign)
		if err != nil {
			return nil, err
		}
		generation = record.Used + 1
	}
	owner, err := t.OwnerRecord()
	if err != nil {
		return nil, err
	}
	record, err := json.Marshal(owner)
	if err != nil {
		return nil, err
	}
	packing, err := d.store.packing.NewFormatOrNil()
	if err != nil {
		return nil, err
	}
	return &manifest{
		Format:     format,
		Packing:    packing,
		ID:         newImageID(),
		Callsign:   d.callsign,
		Golden:     forGolden,
		Generation: generation,
		Engine:     e.Name(),
		Kernel:     kernelRelease(),
		BootID:     procfs.BootID(),
		Record:     record,
	}, nil
}

// fillFromStoppedTree sets in the manifest the time, the rights and settings of the stopped
// tree, what its sockets and timers are, for a golden image its droppable memory, and its
// code. Of the code it reads what was not read before the tree stopped, or has changed since.
func (m *manifest) fillFromStoppedTree(pids []int, t pack.Tagger) (err error) {
	m.Created, m.Uptime = time.Now().Round(0), timeSinceBoot()
	if m.Threads, err = procfs.ThreadIdentities(pids); err != nil {
		return err
	}
	m.Tuning = procfs.DifferingThreadTunings(pids)
	if m.Descriptors, err = descriptors.Take(pids); err != nil {
		return err
	}
	if m.Golden {
		if m.Droppable, err = procfs.DroppableMemory(pids); err != nil {
			return err
		}
	}
	m.Code, err = describeCode(pids, t, m.Code)
	return err
}

// syncAndTagFiles makes the files in the directory of the draft durable and notes their
// sizes and tags. It does both at the same time.
func (m *manifest) syncAndTagFiles(t pack.Tagger, draftDir string) error {
	entries, err := os.ReadDir(draftDir)
	if err != nil {
		return err
	}
	files := make([]*os.File, len(entries))
	for i, entry := range entries {
		if files[i], err = regularfile.Open(filepath.Join(draftDir, entry.Name())); err != nil {
			return err
		}
		defer files[i].Close()
	}
	synced := make(chan error, 1)
	go func() { synced <- syncFiles(files) }()
	m.Files, err = tagFiles(files, t)
	return errors.Join(err, <-synced)
}

// tagFiles reads the files and returns their descriptions with their tags. The number of a
// file is its place in files. The error names a file that is not a regular one.
func tagFiles(files []*os.File, t pack.Tagger) ([]pack.File, error) {
	described := make([]pack.File, len(files))
	for i, f := range files {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		name := filepath.Base(f.Name())
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", name)
		}
		tag, err := t.TagFile(f, uint32(i), info.Size())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		described[i] = pack.File{Name: name, Size: info.Size(), Tag: tag}
	}
	return described, nil
}

// sealIntoDraft sets the total size of the files, and writes the sealed manifest into the
// directory of the draft, durably.
func (m *manifest) sealIntoDraft(key []byte, draftDir string) error {
	for _, f := range m.Files {
		m.Bytes += f.Size
	}
	if err := writeSealedJSON(filepath.Join(draftDir, manifestName), key, m); err != nil {
		return fmt.Errorf("cannot write the manifest: %w", err)
	}
	return atomicfile.SyncDir(draftDir)
}

// newImage returns the committed image that the manifest in dir describes.
func (m *manifest) newImage(dir *ImageDir) *Image {
	return &Image{Engine: m.Engine, Bytes: m.Bytes, Created: m.Created, Generation: m.Generation, dir: dir, manifest: *m}
}

// imageDirName returns the name of the image's directory in its ImageDir.
func (m *manifest) imageDirName() string {
	if m.Golden {
		return goldenName
	}
	return imageName
}

// kindWord returns "golden" or "ordinary", the word for the image in errors.
func (m *manifest) kindWord() string {
	if m.Golden {
		return "golden"
	}
	return "ordinary"
}

// kernelRelease returns the kernel's version, as "uname -r" prints it.
func kernelRelease() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // can't fail with a valid pointer
	return unix.ByteSliceToString(u.Release[:])
}

// timeSinceBoot returns the time since the boot, including the time that the machine was
// suspended.
func timeSinceBoot() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // every kernel has this clock
	return time.Duration(now.Nano())
}

// sealed is a file with the JSON text of a value and a keyed digest of that text.
type sealed struct {
	Manifest json.RawMessage `json:"manifest"`
	HMAC     []byte          `json:"hmac"`
}

// writeSealedJSON writes v as JSON with a digest under key, and makes the file durable.
func writeSealedJSON(path string, key []byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	whole, err := json.Marshal(sealed{text, hmacSHA256(key, text)})
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
	return errors.Join(err, f.Close())
}

// maxSealedFile is the size of a sealed file that readSealedJSON reads at most: each mapped
// file and each thread of a tree has a record in the manifest.
const maxSealedFile = 256 << 20

// readSealedJSON reads into v what writeSealedJSON wrote. The error wraps ErrRefused if the
// file was not sealed with this key, and fs.ErrNotExist if there is no file.
func readSealedJSON(path string, key []byte, v any) error {
	whole, err := regularfile.Read(path, maxSealedFile)
	if errors.Is(err, regularfile.ErrNotRegular) || errors.Is(err, regularfile.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err != nil {
		return err
	}
	var s sealed
	if err := json.Unmarshal(whole, &s); err != nil {
		return fmt.Errorf("%w: %s is damaged: %w", ErrRefused, filepath.Base(path), err)
	}
	if !hmac.Equal(s.HMAC, hmacSHA256(key, s.Manifest)) {
		return fmt.Errorf("%w: %s was not written by this host, or changed since", ErrRefused, filepath.Base(path))
	}
	if err := json.Unmarshal(s.Manifest, v); err != nil {
		return fmt.Errorf("%w: cannot read %s: %w", ErrRefused, filepath.Base(path), err)
	}
	return nil
}

// hmacSHA256 returns the HMAC of the text under the key, with SHA-256.
func hmacSHA256(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}
