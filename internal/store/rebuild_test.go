package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/internal/store/salvage"
)

// allPoints is the variable with which sweeps try every point, and not only some.
const allPoints = "DORMOUSE_FAULTS"

const pageSize = 4096

// sample is what the files of these tests hold.
type sample struct{ records, letters, words int }

var swept = sample{records: 300, letters: 2000, words: 1500}

const sampleTables = `
CREATE TABLE letters (n INTEGER PRIMARY KEY, queue INTEGER NOT NULL, body BLOB);
CREATE INDEX letters_in_order ON letters (queue);
CREATE TABLE words (scope TEXT NOT NULL, word TEXT NOT NULL, n INTEGER, PRIMARY KEY (scope, word)) WITHOUT ROWID;
`

func recordText(n int) string { return fmt.Sprintf("record %d %s", n, strings.Repeat("r", 100+n%50)) }

// letter returns a body; some take more than one page.
func letter(n int) []byte {
	return bytes.Repeat([]byte{byte(n)}, 40+n%7*30+n%400/399*9000)
}

// fill puts the sample into the store, in an order that takes many pages.
func (x sample) fill(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Define("sample", sampleTables); err != nil {
		t.Fatal(err)
	}
	err := s.Update(context.Background(), func(tx *Tx) error {
		for n := range max(x.records, x.letters, x.words) {
			var errs []error
			if n < x.records {
				errs = append(errs, BucketOf[string](s, "things").PutIn(tx, fmt.Sprint("key", n), recordText(n)))
			}
			if n < x.letters {
				_, err := tx.Exec("INSERT INTO letters VALUES (?, ?, ?)", n+1, n%3, letter(n))
				errs = append(errs, err)
			}
			if n < x.words {
				_, err := tx.Exec("INSERT INTO words VALUES (?, ?, ?)", fmt.Sprint("scope", n%3), fmt.Sprint("word", n), n)
				errs = append(errs, err)
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// missing returns how many rows of each kind are not in the store, and fails the test for rows
// that are not as they were, and records that are missing and were not named.
func (x sample) missing(t *testing.T, s *Store, told string) (lost sample) {
	t.Helper()
	if err := s.Define("sample", sampleTables); err != nil {
		t.Fatal(err)
	}
	all, err := BucketOf[string](s, "things").All()
	if err != nil {
		t.Fatal(err)
	}
	for n := range x.records {
		key := fmt.Sprint("key", n)
		if all[key] == recordText(n) {
			continue
		}
		lost.records++
		if all[key] != "" {
			t.Errorf("%s is %q", key, all[key])
		}
		if !strings.Contains(told, "key "+key+"\n") && !strings.Contains(told, `"`+key+`"`) &&
			!strings.Contains(told, "of table records page") && !strings.Contains(told, "and left out") { // its name is damaged, too
			t.Errorf("%s is lost, and was not named", key)
		}
	}
	err = s.View(context.Background(), func(tx *Tx) error {
		letters, words := 0, 0
		rows, err := tx.Query("SELECT n, queue, body FROM letters")
		if err != nil {
			return err
		}
		for rows.Next() {
			var n, queue int
			var body []byte
			if err := rows.Scan(&n, &queue, &body); err != nil {
				return err
			}
			letters++
		}
		if err := errors.Join(rows.Err(), tx.QueryRow("SELECT count(*) FROM words").Scan(&words)); err != nil {
			return err
		}
		lost.letters, lost.words = x.letters-letters, x.words-words
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lost
}

// makeSample makes a closed file with the sample in it.
func makeSample(t *testing.T, x sample) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, path)
	x.fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// check runs SQLite's own check of the whole file.
func check(t *testing.T, s *Store) {
	t.Helper()
	err := s.View(context.Background(), func(tx *Tx) error {
		var result string
		if err := tx.QueryRow("PRAGMA integrity_check").Scan(&result); err != nil || result != "ok" {
			return fmt.Errorf("%s, %w", result, err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("the check says %v", err)
	}
}

// points returns some of the numbers from 0, chosen by a seed that is logged, or all of them.
func points(t *testing.T, count, some int) []int {
	t.Helper()
	if os.Getenv(allPoints) == "all" {
		some = count
	}
	seed := rand.Uint64()
	t.Logf("%d of %d points, chosen by the seed %d", min(some, count), count, seed)
	return rand.New(rand.NewPCG(seed, 0)).Perm(count)[:min(some, count)]
}

// damages are what can happen to one page.
var damages = map[string]func(file []byte, page int) []byte{
	"flipped": func(file []byte, page int) []byte {
		for i := range pageSize {
			file[page*pageSize+i] ^= 0xff
		}
		return file
	},
	"zeroed":    func(file []byte, page int) []byte { clear(file[page*pageSize : (page+1)*pageSize]); return file },
	"truncated": func(file []byte, page int) []byte { return file[:page*pageSize] },
	"half cut":  func(file []byte, page int) []byte { return file[:page*pageSize+pageSize/2] },
	"a few bytes": func(file []byte, page int) []byte {
		for i := range 16 {
			file[page*pageSize+i*251+7] ^= 0x55
		}
		return file
	},
}

// Whatever page is damaged, the store opens with all rows of the others, names what is lost
// and keeps the damaged file. A next start finds nothing to do.
func TestDamageOfEachPage(t *testing.T) {
	whole := makeSample(t, swept)
	pages := len(whole) / pageSize
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			for _, page := range points(t, pages, 2) {
				damaged := damage(bytes.Clone(whole), page)
				if len(damaged) == 0 {
					continue // that is a new file
				}
				testOneDamage(t, name, page, damaged)
			}
		})
	}
}

func testOneDamage(t *testing.T, name string, page int, damaged []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (mark{Why: "the test has damaged it"}).write(path); err != nil { // as the check beside the work does
		t.Fatal(err)
	}
	told := ""
	s, err := Open(path, Options{Told: func(message string) { told += message + "\n" }})
	if len(damaged) < pageSize {
		if now, rerr := os.ReadFile(path); !errors.Is(err, ErrDamaged) || rerr != nil || !bytes.Equal(now, damaged) {
			t.Errorf("nothing is left to read, and Open says %v", err)
		}
		return
	}
	if err != nil {
		t.Errorf("page %d: %v", page+1, err)
		return
	}
	defer func() { _ = s.Close() }()
	lost := swept.missing(t, s, told)
	check(t, s)
	isOne := name == "zeroed" || name == "flipped" || name == "a few bytes"
	if isOne && (lost.records > 30 || lost.letters > 110 || lost.words > 250 || min(lost.records, lost.letters) > 0) {
		t.Errorf("page %d: lost %+v; told:\n%s", page+1, lost, told)
	}
	if !s.Rebuilt() || !strings.Contains(told, "the damaged file is kept as "+path+".damaged-") {
		t.Errorf("page %d: rebuilt %v, told:\n%s", page+1, s.Rebuilt(), told)
	}
	kept, _ := filepath.Glob(path + ".damaged-*")
	if len(kept) != 1 {
		t.Fatalf("kept are %q", kept)
	}
	if text, err := os.ReadFile(kept[0]); !bytes.Equal(text, damaged) || err != nil {
		t.Errorf("page %d: the damaged file was changed (%v)", page+1, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	again := openStore(t, path)
	if again.Rebuilt() {
		t.Errorf("page %d: it was rebuilt twice", page+1)
	}
	_ = again.Close()
	t.Logf("%s page %d: lost %+v", name, page+1, lost)
}

// Whatever stands in a file and its log, to look for rows ends and does not panic.
func FuzzSalvage(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "store.db")
	s, err := Open(path, Options{})
	if err != nil {
		f.Fatal(err)
	}
	for n := range 60 {
		if err := BucketOf[string](s, "things").Put(fmt.Sprint(n), strings.Repeat("x", n*n)); err != nil {
			f.Fatal(err)
		}
	}
	log, err := os.ReadFile(path + walSuffix)
	if err := errors.Join(err, s.Close()); err != nil {
		f.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file, log)
	f.Add(file, []byte{})
	f.Add(file[:pageSize], log)
	f.Add([]byte{}, log)
	f.Add([]byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, file, log []byte) {
		path := filepath.Join(t.TempDir(), "store.db")
		if err := errors.Join(os.WriteFile(path, file, 0o600), os.WriteFile(path+walSuffix, log, 0o600)); err != nil {
			t.Fatal(err)
		}
		salvage.IsLogDamaged(path + walSuffix)
		im, err := salvage.Open(path, path+walSuffix)
		if err != nil {
			t.Fatal(err)
		}
		defer im.Close()
		d, err := readDamaged(im)
		if err != nil {
			return
		}
		for _, table := range d.tables {
			_, _ = d.reader.Rows(table, func(salvage.Row) error { return nil })
			_, _ = d.reader.Entries(table, func(salvage.Row) error { return nil })
		}
		d.reader.Orphans()
	})
}
