package hibernate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"dormouse/internal/atomicfile"
	"dormouse/internal/filenames"
	"dormouse/internal/ownedtree"
)

// usedGenerations knows which images of a store were woken or given up. It keeps one sealed
// record for each instance, outside of the instance's directory: an image that is copied back
// together with all that lies beside it stays used. Only a copy of the whole store brings the
// records back as well.
type usedGenerations struct {
	mu sync.Mutex // held from reading a record until it is written
	// known holds the records as this process knows them. If the disk fails while a record is
	// written, the record on disk may be newer than what has come to pass.
	known map[string]generationRecord
}

// generationRecord says which images of an instance may not be woken any more.
type generationRecord struct {
	Callsign string `json:"callsign"`
	// Used is the highest generation that was woken or given up. The next image gets the
	// generation that follows.
	Used uint64 `json:"used"`
	// Woken is the generation that was woken last.
	Woken uint64 `json:"woken,omitempty"`
	// Aside are the generations up to Used that were put aside and may yet be woken, once.
	Aside []uint64 `json:"aside,omitempty"`
}

// afterWakeOf returns the record after a wake of the generation.
func (r generationRecord) afterWakeOf(generation uint64) generationRecord {
	r = r.afterEndOf(generation)
	r.Woken = generation
	return r
}

// afterEndOf returns the record after the image of that generation was given up for ever.
func (r generationRecord) afterEndOf(generation uint64) generationRecord {
	r.Used = max(r.Used, generation)
	r.Aside = slices.DeleteFunc(slices.Clone(r.Aside), func(g uint64) bool { return g == generation })
	return r
}

// afterPuttingAside returns the record after the image of that generation was put aside.
func (r generationRecord) afterPuttingAside(generation uint64) generationRecord {
	r = r.afterEndOf(generation)
	r.Aside = append(r.Aside, generation)
	return r
}

// checkMayBeWoken returns an ErrRefused unless an image of that generation may be woken, and
// an ErrSpent if it is the one that was woken last.
func (r generationRecord) checkMayBeWoken(generation uint64) error {
	switch {
	case slices.Contains(r.Aside, generation), generation == r.Used+1:
		return nil
	case generation == r.Woken:
		return fmt.Errorf("%w: generation %d was woken already", ErrSpent, generation)
	case generation <= r.Used:
		return fmt.Errorf("%w: generation %d was woken already, or given up", ErrRefused, generation)
	}
	return fmt.Errorf("%w: it is generation %d, not %d as expected", ErrRefused, generation, r.Used+1)
}

// isEqual reports whether both records say the same.
func (r generationRecord) isEqual(other generationRecord) bool {
	return r.Callsign == other.Callsign && r.Used == other.Used && r.Woken == other.Woken && slices.Equal(r.Aside, other.Aside)
}

// Files in the directory of the records. No callsign begins with a dot, so usedName is none.
const (
	usedName     = ".used"
	recordPrefix = "of-"   // the record of the instance whose callsign follows
	nextPrefix   = "next-" // the record after the next wake of that instance
	floorName    = "floor" // the highest generation of the instances whose record was removed
)

// usedPath returns the path of a file in the directory of the records.
func (s *Store) usedPath(name string) string { return filepath.Join(s.dir, usedName, name) }

// generationRecord returns the record of an instance. If there is none, found is false, and
// the generations begin after those of all instances whose records were removed. The error
// wraps ErrRefused if this host did not write the record.
func (s *Store) generationRecord(callsign string) (r generationRecord, found bool, err error) {
	s.used.mu.Lock()
	defer s.used.mu.Unlock()
	return s.readGenerationRecord(callsign)
}

// readGenerationRecord is generationRecord for a caller that holds s.used.mu.
func (s *Store) readGenerationRecord(callsign string) (r generationRecord, found bool, err error) {
	if r, known := s.used.known[callsign]; known {
		return r, true, nil
	}
	err = readSealedJSON(s.usedPath(recordPrefix+callsign), s.key, &r)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !s.hasGenerationRecords():
		return s.readOldGeneration(callsign)
	case errors.Is(err, fs.ErrNotExist):
		floor, err := s.readGenerationFloor()
		return generationRecord{Callsign: callsign, Used: floor}, false, err
	case err != nil:
		return r, false, err
	case r.Callsign != callsign:
		return r, false, fmt.Errorf("%w: the record of its generations is that of %s", ErrRefused, r.Callsign)
	}
	s.keepKnown(r)
	return r, true, nil
}

// keepKnown remembers the record. The caller holds s.used.mu.
func (s *Store) keepKnown(r generationRecord) {
	if s.used.known == nil {
		s.used.known = make(map[string]generationRecord)
	}
	s.used.known[r.Callsign] = r
}

// readGenerationFloor returns the highest generation of the instances whose record was
// removed.
func (s *Store) readGenerationFloor() (floor uint64, err error) {
	err = readSealedJSON(s.usedPath(floorName), s.key, &floor)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return floor, err
}

// ensureGenerationRecord makes the record of an instance, durably, if it is missing: an image is
// woken only with it. A record that this host did not write, or can't read, is replaced by
// one whose generations are higher than all that were ever counted.
func (s *Store) ensureGenerationRecord(callsign string) (generationRecord, error) {
	s.used.mu.Lock()
	defer s.used.mu.Unlock()
	r, found, err := s.readGenerationRecord(callsign)
	if errors.Is(err, ErrRefused) {
		r, err = generationRecord{Callsign: callsign, Used: uint64(time.Now().Unix())}, nil
	}
	if found || err != nil {
		return r, err
	}
	return r, s.writeGenerationRecord(r)
}

// changeGenerationRecord replaces the record of an instance, durably, by what change makes of
// it.
func (s *Store) changeGenerationRecord(callsign string, change func(generationRecord) generationRecord) error {
	s.used.mu.Lock()
	defer s.used.mu.Unlock()
	r, _, err := s.readGenerationRecord(callsign)
	if err != nil {
		return err
	}
	return s.writeGenerationRecord(change(r))
}

// writeGenerationRecord writes the record, durably. The caller holds s.used.mu.
func (s *Store) writeGenerationRecord(r generationRecord) error {
	if err := s.writeNextRecord(r); err != nil {
		return err
	}
	return s.commitNextRecord(r)
}

// prepareWakeOf writes the record after a wake of the generation into a file that changes
// nothing before commitWakeOf. A checkpoint does that, so that the wake needs no space on
// disk.
func (s *Store) prepareWakeOf(callsign string, generation uint64) error {
	s.used.mu.Lock()
	defer s.used.mu.Unlock()
	r, _, err := s.readGenerationRecord(callsign)
	if err != nil {
		return err
	}
	return s.writeNextRecord(r.afterWakeOf(generation))
}

// commitWakeOf marks the generation as used, durably. After an error it is not used.
func (s *Store) commitWakeOf(callsign string, generation uint64) error {
	s.used.mu.Lock()
	defer s.used.mu.Unlock()
	r, _, err := s.readGenerationRecord(callsign)
	if err != nil {
		return err
	}
	return s.writeGenerationRecord(r.afterWakeOf(generation))
}

// forgetPreparedWake removes what prepareWakeOf has written.
func (s *Store) forgetPreparedWake(callsign string) { _ = os.Remove(s.usedPath(nextPrefix + callsign)) }

// writeNextRecord writes the record into the file for the next one, unless the file has it
// already. The caller holds s.used.mu.
func (s *Store) writeNextRecord(r generationRecord) error {
	path := s.usedPath(nextPrefix + r.Callsign)
	var prepared generationRecord
	if err := readSealedJSON(path, s.key, &prepared); err == nil && prepared.isEqual(r) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return writeSealedJSON(path, s.key, r)
}

// commitNextRecord makes what writeNextRecord has written the record, durably. The caller
// holds s.used.mu.
func (s *Store) commitNextRecord(r generationRecord) error {
	if err := os.Rename(s.usedPath(nextPrefix+r.Callsign), s.usedPath(recordPrefix+r.Callsign)); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(s.usedPath("")); err != nil {
		return err // the image is not used: s.used.known has the record as before
	}
	s.keepKnown(r)
	return nil
}

// removeGenerationRecord removes the record of an instance that is gone for good. No later
// instance gets a generation that this one had.
func (s *Store) removeGenerationRecord(callsign string) error {
	s.used.mu.Lock()
	defer s.used.mu.Unlock()
	r, found, err := s.readGenerationRecord(callsign)
	if err != nil || !found {
		return err
	}
	floor, err := s.readGenerationFloor()
	if err != nil {
		return err
	}
	if last := r.Used + 1; last > floor { // an image of that generation may have been made
		if err := s.writeGenerationFloor(last); err != nil {
			return err
		}
	}
	delete(s.used.known, callsign)
	s.forgetPreparedWake(callsign)
	if err := os.Remove(s.usedPath(recordPrefix + callsign)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeGenerationFloor writes the floor, durably.
func (s *Store) writeGenerationFloor(floor uint64) error {
	path := s.usedPath(floorName)
	if err := writeSealedJSON(path+"~", s.key, floor); err != nil {
		return err
	}
	if err := os.Rename(path+"~", path); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// The file in which earlier hosts kept the highest used generation of an instance, in the
// instance's directory, and the one that they prepared.
const (
	oldGenerationName = "generation"
	oldGenerationNew  = "generation.new"
)

// hasGenerationRecords reports whether there is a directory of the records. Once there is one,
// the files of earlier hosts mean nothing.
func (s *Store) hasGenerationRecords() bool {
	_, err := os.Lstat(s.usedPath(""))
	return !errors.Is(err, fs.ErrNotExist)
}

// readOldGeneration returns the record of an instance as the files of earlier hosts have it.
func (s *Store) readOldGeneration(callsign string) (r generationRecord, found bool, err error) {
	dir := s.ImageDir(callsign)
	r.Callsign = callsign
	err = readSealedJSON(dir.path(oldGenerationName), s.key, &r.Used)
	if errors.Is(err, fs.ErrNotExist) { // no image was woken yet
		_, serr := os.Lstat(dir.path(imageName))
		return r, serr == nil, nil
	}
	r.Woken = r.Used
	return r, err == nil, err
}

// takeOverOldGenerations makes the directory of the records, if there is none, from the files
// of earlier hosts.
func (s *Store) takeOverOldGenerations() error {
	if s.hasGenerationRecords() {
		return nil
	}
	instances, err := filenames.PathsIn(s.dir, "", "")
	if err != nil {
		return err
	}
	fresh := &Store{dir: filepath.Join(s.dir, usedName+".new"), key: s.key} // renamed when it is whole
	if err := ownedtree.Remove(fresh.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(fresh.usedPath(""), 0o700); err != nil {
		return err
	}
	for _, instance := range instances {
		record, found, err := s.readOldGeneration(filepath.Base(instance))
		if err == nil && found { // otherwise it is no instance, or not one of this host
			err = fresh.writeGenerationRecord(record)
			if err != nil {
				return err
			}
		}
	}
	if err := os.Rename(fresh.usedPath(""), s.usedPath("")); err != nil {
		return err
	}
	for _, instance := range instances {
		_ = os.Remove(filepath.Join(instance, oldGenerationName)) // they mean nothing any more
		_ = os.Remove(filepath.Join(instance, oldGenerationNew))
	}
	return errors.Join(os.Remove(fresh.dir), atomicfile.SyncDir(s.dir))
}
