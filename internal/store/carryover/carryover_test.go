package carryover_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"dormouse/internal/store"
)

// Names that the store gives what it makes of an old file, and the old file.
const (
	newSuffix  = "-new"
	keptSuffix = ".before-sqlite"
)

type entry struct {
	Name string `json:"name"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func openStore(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// writeOld makes a file as versions before SQLite have, with records in two buckets.
func writeOld(t *testing.T, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{"entries", "others"} {
			bucket, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for n := range 100 {
				raw := fmt.Appendf(nil, `{"name":"%s %d"}`, strings.Repeat("x", 200), n)
				sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(raw, castagnoli))
				if err := bucket.Put(fmt.Append(nil, "key", n), append(sum, raw...)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// The records of an old file are in the new one, once, and the old one is kept as it was.
func TestCarryOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	writeOld(t, path)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{newSuffix, newSuffix + "-wal"} { // as a crash leaves them
		if err := os.WriteFile(path+suffix, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var told []string
	s, err := store.Open(path, store.Options{Told: func(message string) { told = append(told, message) }})
	if err != nil {
		t.Fatal(err)
	}
	all, err := store.BucketOf[entry](s, "entries").All()
	if len(all) != 100 || !strings.HasSuffix(all["key7"].Name, "x 7") || err != nil || s.Rebuilt() {
		t.Errorf("there are %d, %v; rebuilt: %v", len(all), err, s.Rebuilt())
	}
	if len(told) != 1 || !strings.Contains(told[0], path+keptSuffix) {
		t.Errorf("told %q", told)
	}
	if err := errors.Join(store.BucketOf[entry](s, "entries").Delete("key7"), s.Close()); err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(path + keptSuffix); !bytes.Equal(kept, old) || err != nil {
		t.Errorf("the old file was not kept (%v)", err)
	}
	if all, err := store.BucketOf[entry](openStore(t, path), "entries").All(); len(all) != 99 || err != nil {
		t.Errorf("then there are %d, %v", len(all), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range left {
		if strings.Contains(file.Name(), newSuffix) {
			t.Errorf("%s is left", file.Name())
		}
	}
}

// An old file that is damaged is refused, and not changed.
func TestCarryOverOfDamage(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made.db")
	writeOld(t, made)
	whole, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"truncated":           func(b []byte) []byte { return b[:8*4096] },
		"truncated to a page": func(b []byte) []byte { return b[:4096] },
		"pages of zeros":      func(b []byte) []byte { clear(b[8192:]); return b },
		"pages of ones": func(b []byte) []byte {
			for i := range b[8192:] {
				b[8192+i] = 0xff
			}
			return b
		},
		"a flipped bit in every record": func(b []byte) []byte {
			return []byte(strings.ReplaceAll(string(b), "xxxxxx", "xxxxxy"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			damaged := damage(bytes.Clone(whole))
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := store.Open(path, store.Options{})
			if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "cannot open "+path) || !strings.Contains(err.Error(), "move it away") {
				t.Errorf("got %v", err)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) {
				t.Errorf("the file was changed (%v)", err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			openStore(t, path)
		})
	}
}

// While an older host has the file open, it is not carried over.
func TestCarryOverOfFileInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	writeOld(t, path)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := store.Open(path, store.Options{}); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("got %v", err)
	}
}

// A carry-over that a crash has interrupted is finished by the next start.
func TestInterruptedCarryOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	writeOld(t, path)
	if err := os.Link(path, path+keptSuffix); err != nil { // it came so far
		t.Fatal(err)
	}
	if err := os.WriteFile(path+newSuffix, []byte("whole or not"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, path)
	if all, err := store.BucketOf[entry](s, "others").All(); len(all) != 100 || err != nil {
		t.Errorf("there are %d, %v", len(all), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range left {
		names = append(names, file.Name())
	}
	if got := strings.Join(names, " "); got != "store.db store.db-lock store.db-shm store.db-wal store.db.before-sqlite" {
		t.Errorf("there are %s", got)
	}
}

// An old file that is there a second time, after a way back, is kept beside the first.
func TestCarryOverAfterAWayBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	writeOld(t, path)
	if err := os.WriteFile(path+keptSuffix, []byte("the first"), 0o600); err != nil {
		t.Fatal(err)
	}
	openStore(t, path)
	if text, err := os.ReadFile(path + keptSuffix); string(text) != "the first" || err != nil {
		t.Errorf("the first is %d bytes, %v", len(text), err)
	}
	if kept, err := filepath.Glob(path + keptSuffix + "-*"); len(kept) != 1 || err != nil {
		t.Errorf("kept are %q, %v", kept, err)
	}
}
