package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"dormouse/internal/store"
)

// storeMemoryVerb makes this program one that prints what a store adds to its memory.
const storeMemoryVerb = "store-memory"

// kept is the record of the measurements, like one of a clone.
type kept struct {
	Callsign string `json:"callsign"`
	Text     string `json:"text"`
}

var keptRecord = kept{"Counter", strings.Repeat("configuration ", 20)}

// putter puts one record into a file.
type putter interface {
	put(key string) error
	close() error
}

// measureStore puts records, in turn with the same rows written by SQLite with the same
// sharing of commits, and by bbolt; and prints what a store adds to a host.
func measureStore(ctx context.Context, b *bench) (rows []row, err error) {
	for _, writers := range []int{1, 64} {
		more, err := comparePutters(ctx, writers, b.runs)
		if err != nil {
			return rows, err
		}
		rows = append(rows, more...)
	}
	opened, err := timeOpen(ctx, b.runs)
	if err != nil {
		return rows, err
	}
	out, err := exec.CommandContext(ctx, os.Args[0], storeMemoryVerb).Output()
	if err == nil {
		fmt.Print(string(out))
	}
	return append(rows, opened), err
}

func comparePutters(ctx context.Context, writers, runs int) (_ []row, err error) {
	dir, err := os.MkdirTemp("", "dormouse-bench-store")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var own, lite, bolt series
	kinds := []struct {
		open  func(path string) (putter, error)
		times *series
	}{{openOwnPutter, &own}, {openLitePutter, &lite}, {openBoltPutter, &bolt}}
	each := 100
	if writers > 1 {
		each = 16
	}
	err = rounds(ctx, runs, func() error {
		for _, kind := range kinds {
			if err := timePutter(filepath.Join(dir, "file.db"), kind.open, kind.times, writers, each); err != nil {
				return err
			}
		}
		return nil
	}, &own, &lite, &bolt)
	what := fmt.Sprintf("put %d records, %d at a time", writers*each, writers)
	return []row{
		{what: what, own: own, yardstick: "SQLite, the same rows", plain: lite, aim: 1 / 0.8},
		{what: what, own: own, yardstick: "bbolt", plain: bolt, aim: 1},
	}, err
}

// timePutter adds how long the puts into a new file take.
func timePutter(path string, open func(path string) (putter, error), times *series, writers, each int) (err error) {
	p, err := open(path)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, p.close())
		for _, name := range append(store.FilesBeside(path), path) {
			_ = os.Remove(name)
		}
	}()
	unix.Sync() // no run pays for what an earlier one wrote
	return timed(times, func() error {
		var all sync.WaitGroup
		failed := make([]error, writers)
		for w := range writers {
			all.Go(func() {
				for n := range each {
					if err := p.put(fmt.Sprintf("record %d of %d", n, w)); err != nil {
						failed[w] = err
						return
					}
				}
			})
		}
		all.Wait()
		return errors.Join(failed...)
	})
}

// ownPutter is Dormouse's store.
type ownPutter struct {
	store  *store.Store
	bucket store.Bucket[kept]
}

func openOwnPutter(path string) (putter, error) {
	s, err := store.Open(path, store.Options{CheckAfter: time.Hour})
	if err != nil {
		return nil, err
	}
	return ownPutter{s, store.BucketOf[kept](s, "kept")}, nil
}

func (p ownPutter) put(key string) error { return p.bucket.Put(key, keptRecord) }
func (p ownPutter) close() error         { return p.store.Close() }

// boltPutter is plain bbolt, with its own way to share commits.
type boltPutter struct{ db *bbolt.DB }

func openBoltPutter(path string) (putter, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	db.MaxBatchDelay = 100 * time.Microsecond // with more, one writer would wait for others that there are not
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("kept"))
		return err
	})
	return boltPutter{db}, err
}

func (p boltPutter) put(key string) error {
	raw, err := json.Marshal(keptRecord)
	if err != nil {
		return err
	}
	return p.db.Batch(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("kept")).Put([]byte(key), raw) })
}

func (p boltPutter) close() error { return p.db.Close() }

// timeOpen measures what a store that has some records adds to the start of a host.
func timeOpen(ctx context.Context, runs int) (_ row, err error) {
	dir, err := os.MkdirTemp("", "dormouse-bench-store")
	if err != nil {
		return row{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var own, plain series
	path := filepath.Join(dir, "store.db")
	if err := fillStore(path, 100); err != nil {
		return row{}, err
	}
	err = rounds(ctx, max(runs, 20), func() error {
		var opened *store.Store
		err := timed(&own, func() (err error) {
			opened, err = store.Open(path, store.Options{CheckAfter: time.Hour})
			return err
		})
		err = errors.Join(err, opened.Close())
		return errors.Join(err, timed(&plain, func() error {
			_, err := os.ReadFile(path)
			return err
		}))
	}, &own, &plain)
	return row{what: "open a store of 100 records", own: own, yardstick: "read its file", plain: plain, within: 3 * time.Millisecond}, err
}

// fillStore puts so many records into a store.
func fillStore(path string, records int) error {
	p, err := openOwnPutter(path)
	if err != nil {
		return err
	}
	for n := range records {
		err = errors.Join(err, p.put(fmt.Sprint("record", n)))
	}
	return errors.Join(err, p.close())
}

// printStoreMemory prints what a store adds to the memory of this process.
func printStoreMemory() (err error) {
	dir, err := os.MkdirTemp("", "dormouse-bench-store")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	before := resident()
	p, err := openOwnPutter(filepath.Join(dir, "store.db"))
	if err != nil {
		return err
	}
	opened := resident()
	for n := range 1000 {
		err = errors.Join(err, p.put(fmt.Sprint("record", n)))
	}
	written := resident()
	fmt.Printf("a store adds %d KiB when it is opened, %d KiB after a thousand writes (aim 4096)\n", (opened-before)>>10, (written-before)>>10)
	return errors.Join(err, p.close())
}
