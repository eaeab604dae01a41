package state

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/internal/store"
)

// A key gives its old value when it is set or deleted, and revisions only grow.
func TestKeys(t *testing.T) {
	r := newRig(t, "", configs.State{})
	if n, old, err := r.Change(t.Context(), "A", Change{Key: "k", Value: []byte(`{"n":1}`)}); n != 1 || old[0].Revision != 0 || err != nil {
		t.Errorf("the first set gives %d, %+v, %v", n, old, err)
	}
	if n, old, err := r.Change(t.Context(), "A", Change{Key: "k", Value: []byte(`2`)}); n != 2 || string(old[0].Value) != `{"n":1}` || old[0].Revision != 1 || err != nil {
		t.Errorf("the second set gives %d, %+v, %v", n, old, err)
	}
	if n, old, err := r.Change(t.Context(), "A", Change{Key: "k", Kind: DeleteKey}); n != 3 || string(old[0].Value) != `2` || err != nil {
		t.Errorf("the deletion gives %d, %+v, %v", n, old, err)
	}
	if n, old, err := r.Change(t.Context(), "A", Change{Key: "k", Kind: DeleteKey}); n != 3 || old[0].Revision != 0 || err != nil {
		t.Errorf("a second deletion gives %d, %+v, %v", n, old, err)
	}
	r = r.reopened()
	if n := r.set("A", "k", `3`); n != 4 {
		t.Errorf("made again after a restart, the key has revision %d", n)
	}
	if e, err := r.Get(t.Context(), "A", "k"); string(e.Value) != `3` || e.Revision != 4 || err != nil {
		t.Errorf("it is %+v, %v", e, err)
	}
	r.verify()
}

// What belongs to one owner is not there for another.
func TestOwnersAreApart(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("A", "k", `1`)
	r.put("A", "b", "text")
	_, err := r.Get(t.Context(), "B", "k")
	wantError(t, err, ErrNotFound, `there is no key "k"`)
	_, err = r.OpenBlob(t.Context(), "B", "b")
	wantError(t, err, ErrNotFound, `there is no blob "b"`)
	if l, err := r.List(t.Context(), "B", Page{}, true); len(l.All) != 0 || err != nil {
		t.Errorf("B lists %+v, %v", l, err)
	}
	if _, old, err := r.DeleteBlob(t.Context(), "B", "b", nil); old.Revision != 0 || err != nil {
		t.Errorf("B deletes %+v, %v", old, err)
	}
	if r.text("A", "b") != "text" {
		t.Error("A has lost its blob")
	}
}

// Compare-and-set: a change is made only if the key has the revision that it asks for.
func TestCompareAndSet(t *testing.T) {
	r := newRig(t, "", configs.State{})
	first := r.set("A", "k", `1`)
	r.set("A", "k", `2`)
	for _, c := range []struct {
		change Change
		says   string
	}{
		{Change{Key: "k", Value: []byte(`3`), If: new(first)}, `the key "k" has revision 2, and the change is for revision 1`},
		{Change{Key: "k", Value: []byte(`3`), If: new(int64(0))}, `there is a key "k" already, with revision 2`},
		{Change{Key: "new", Value: []byte(`3`), If: new(int64(7))}, `there is no key "new", and the change is for its revision 7`},
		{Change{Key: "k", Kind: DeleteKey, If: new(int64(1))}, `has revision 2`},
		{Change{Key: "k", Kind: CheckKey, If: new(int64(1))}, `has revision 2`},
	} {
		_, _, err := r.Change(t.Context(), "A", Change{Key: "other", Value: []byte(`1`)}, c.change)
		wantError(t, err, ErrConflict, c.says)
	}
	if _, err := r.Get(t.Context(), "A", "other"); err == nil {
		t.Error("a part of changes that failed was made")
	}
	_, _, err := r.Change(t.Context(), "A", Change{Key: "k", Kind: CheckKey, If: new(int64(2))},
		Change{Key: "k", Value: []byte(`3`), If: new(int64(2))}, Change{Key: "new", Value: []byte(`1`), If: new(int64(0))})
	must(t, err)
	r.verify()
}

// Of many that increment one number by compare-and-set, none is lost.
func TestIncrementBesideOthers(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("A", "n", `0`)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for done := 0; done < 20; {
				e, err := r.Get(t.Context(), "A", "n")
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				_ = json.Unmarshal(e.Value, &n)
				if _, _, err := r.Change(t.Context(), "A", Change{Key: "n", Value: fmt.Append(nil, n+1), If: &e.Revision}); err == nil {
					done++
				}
			}
		})
	}
	all.Wait()
	if e, _ := r.Get(t.Context(), "A", "n"); string(e.Value) != `160` {
		t.Errorf("the number is %s", e.Value)
	}
}

// What can't be a key, a value or a change is refused, and says why.
func TestWrongChanges(t *testing.T) {
	r := newRig(t, "", configs.State{})
	ok := Change{Key: "k", Value: []byte(`1`)}
	many := make([]Change, MaxChanges+1)
	for i := range many {
		many[i] = Change{Key: fmt.Sprint(i), Value: []byte(`1`)}
	}
	long := strings.Repeat("x", MaxName+1)
	for _, c := range []struct {
		changes []Change
		kind    error
		says    string
	}{
		{nil, ErrInvalid, "there is no change"},
		{many, ErrTooLarge, "65 changes, and 64 may be made as one"},
		{[]Change{ok, {Value: []byte(`1`)}}, ErrInvalid, "the key is missing"},
		{[]Change{{Key: long, Value: []byte(`1`)}}, ErrTooLarge, "the key has 513 bytes, and may have 512"},
		{[]Change{{Key: "a\nb", Value: []byte(`1`)}}, ErrInvalid, "control character"},
		{[]Change{{Key: "a\xff", Value: []byte(`1`)}}, ErrInvalid, "not UTF-8"},
		{[]Change{{Key: "k", Value: []byte(`{`)}}, ErrInvalid, `the value of the key "k" is not JSON`},
		{[]Change{{Key: "k"}}, ErrInvalid, "is not JSON"},
		{[]Change{{Key: "k", Value: []byte(`"` + strings.Repeat("x", MaxValue-1) + `"`)}}, ErrTooLarge, "has 65537 bytes, and may have 65536"},
		{[]Change{{Key: "k", Kind: CheckKey}}, ErrInvalid, "must name a revision"},
	} {
		_, _, err := r.Change(t.Context(), "A", c.changes...)
		wantError(t, err, c.kind, c.says)
	}
	_, _, err := r.Change(t.Context(), "A", many[:MaxChanges]...)
	must(t, err)
	r.set("A", "large", `"`+strings.Repeat("x", MaxValue-2)+`"`)
	r.set("A", long[:MaxName], `1`)
	r.verify()
}

// Pages have all keys with a prefix, once, in order, whatever is between their names.
func TestPages(t *testing.T) {
	r := newRig(t, "", configs.State{})
	var want []string
	for n := range 25 {
		key := fmt.Sprintf("run/%02d", n)
		want = append(want, key)
		r.set("A", key, fmt.Sprint(n))
		r.put("A", key, "x")
	}
	for _, other := range []string{"run", "run.", "run0", "ruo", "\U0010ffff", "a"} {
		r.set("A", other, `0`)
		r.put("A", other, "x")
	}
	var keys, blobs []string
	for after, more := "", true; more; {
		l, err := r.List(t.Context(), "A", Page{"run/", after, 7}, true)
		must(t, err)
		for _, e := range l.All {
			keys = append(keys, e.Key)
			if string(e.Value) != fmt.Sprint(len(keys)-1) {
				t.Errorf("%s is %s", e.Key, e.Value)
			}
		}
		after, more = l.Next, l.Next != ""
	}
	for after, more := "", true; more; {
		l, err := r.ListBlobs(t.Context(), "A", Page{"run/", after, 5}) // 25 of them: no empty page at the end
		must(t, err)
		for _, b := range l.All {
			blobs = append(blobs, b.Name)
		}
		if len(l.All) == 0 {
			t.Error("there is an empty page")
		}
		after, more = l.Next, l.Next != ""
	}
	if fmt.Sprint(keys) != fmt.Sprint(want) || fmt.Sprint(blobs) != fmt.Sprint(want) {
		t.Errorf("got %q and %q", keys, blobs)
	}
	if l, err := r.List(t.Context(), "A", Page{}, false); len(l.All) != 31 || l.All[30].Key != "\U0010ffff" || l.All[0].Value != nil || err != nil {
		t.Errorf("got %+v, %v", l, err)
	}
	_, err := r.List(t.Context(), "A", Page{Limit: 1001}, false)
	wantError(t, err, ErrInvalid, "limit must be between 1 and 1000")
}

// A page with large values is short, and the next one goes on there.
func TestPageOfLargeValues(t *testing.T) {
	r := newRig(t, "", configs.State{})
	for n := range 40 {
		r.set("A", fmt.Sprintf("%02d", n), `"`+strings.Repeat("x", MaxValue-2)+`"`)
	}
	first, err := r.List(t.Context(), "A", Page{}, true)
	must(t, err)
	if len(first.All) != 16 || first.Next != "15" {
		t.Errorf("the first page has %d keys, and the next begins after %q", len(first.All), first.Next)
	}
	if all, err := r.List(t.Context(), "A", Page{}, false); len(all.All) != 40 || err != nil {
		t.Errorf("without values there are %d, %v", len(all.All), err)
	}
}

// The error of a quota says what is left; what is beyond a quota may shrink.
func TestQuotasOfKeys(t *testing.T) {
	r := newRig(t, "", configs.State{MaxKeys: 3, MaxKeyBytes: 100})
	r.set("A", "a", `"`+strings.Repeat("x", 87)+`"`) // 90 bytes
	_, _, err := r.Change(t.Context(), "A", Change{Key: "b", Value: []byte(`"twelve byte"`)})
	wantError(t, err, ErrFull, "the state of A is full: 10 B of 100 B are left, and this needs 14 B", "raise max-key-bytes in [state]")
	if data := string(dataOf(err)); data != `{"quota":"max-key-bytes","limit":100,"left":10,"needed":14}` {
		t.Errorf("clients get %s", data)
	}
	r.set("A", "b", `1`)
	r.set("A", "c", `1`)
	_, _, err = r.Change(t.Context(), "A", Change{Key: "d", Value: []byte(`1`)})
	wantError(t, err, ErrFull, "0 keys of 3 keys are left, and this needs 1 keys", "max-keys")
	r.set("B", "a", `1`) // another owner has a quota of its own

	r.SetQuotas(configs.State{MaxKeys: 1, MaxKeyBytes: 10})
	r.set("A", "a", `"less"`)
	_, _, err = r.Change(t.Context(), "A", Change{Key: "b", Value: []byte(`12`)})
	wantError(t, err, ErrFull, "0 B of 10 B are left, and this needs 1 B")
	_, _, err = r.Change(t.Context(), "A", Change{Key: "a", Kind: DeleteKey}, Change{Key: "z", Value: []byte(`1`)})
	must(t, err)
	r.verify()
}

// The bound of all owners together holds, also when a change fails in between.
func TestQuotaOfAllOwners(t *testing.T) {
	r := newRig(t, "", configs.State{MaxBytes: 50})
	r.set("A", "a", `"`+strings.Repeat("x", 27)+`"`) // 30 bytes
	for range 3 {
		_, _, err := r.Change(t.Context(), "B", Change{Key: "b", Value: []byte(`"` + strings.Repeat("x", 27) + `"`)})
		wantError(t, err, ErrFull, "the state of all plugins together is full: 20 B of 50 B are left, and this needs 30 B", "max-bytes")
	}
	_, err := r.upload(t.Context(), "B", UploadStart{Name: "b"}, make([]byte, 21))
	wantError(t, err, ErrFull, "20 B of 50 B are left")
	r.put("B", "b", strings.Repeat("x", 20))
	r = r.reopened()
	_, _, err = r.Change(t.Context(), "C", Change{Key: "c", Value: []byte(`1`)})
	wantError(t, err, ErrFull, "0 B of 50 B are left")
	must(t, r.Remove(t.Context(), "A"))
	r.set("C", "c", `1`)
	r.verify()
}

// A clock that is a year off changes times, and nothing else.
func TestClockYearOff(t *testing.T) {
	r := newRig(t, "", configs.State{})
	now := time.Now()
	last := int64(0)
	for _, years := range []int{0, 1, -1, 2, -60} {
		r.at(now.AddDate(years, 0, 0))
		n := r.set("A", "k", fmt.Sprint(years))
		b := r.put("A", "b", fmt.Sprint(years))
		if n != last+1 || b.Revision != last+2 {
			t.Errorf("%d years off the revisions are %d and %d, after %d", years, n, b.Revision, last)
		}
		last = b.Revision
		if e, err := r.Get(t.Context(), "A", "k"); string(e.Value) != fmt.Sprint(years) || !e.Changed.Equal(r.clock().Truncate(time.Millisecond)) || err != nil {
			t.Errorf("%d years off the key is %+v, %v", years, e, err)
		}
	}
	r = r.reopened()
	if r.text("A", "b") != "-60" {
		t.Error("the blob is another")
	}
	r.verify()
}

// A row that the disk has changed is told as such, and can be written anew or deleted.
func TestDamagedRow(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("A", "k", `"right"`)
	r.put("A", "b", "text")
	must(t, r.store.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE state_keys SET value = CAST('"wrong"' AS BLOB)`)
		if err == nil {
			_, err = tx.Exec(`UPDATE state_blobs SET type = 'text/html'`)
		}
		return err
	}))
	_, err := r.Get(t.Context(), "A", "k")
	wantError(t, err, ErrDamaged, `the checksum of the key "k" does not match`)
	_, err = r.OpenBlob(t.Context(), "A", "b")
	wantError(t, err, ErrDamaged, `the checksum of the blob "b" does not match`)
	_, _, err = r.Change(t.Context(), "A", Change{Key: "k", Value: []byte(`1`), If: new(int64(1))})
	wantError(t, err, ErrDamaged)
	r.set("A", "k", `"anew"`)
	r.put("A", "b", "anew")
	if r.text("A", "b") != "anew" {
		t.Error("the blob is not the new one")
	}
	r.verify()
}

// After any changes, keys, counters and files are what a map says.
func TestLikeAMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, "", configs.State{})
	keys, blobs := make(map[string]string), make(map[string]string)
	for step := range 300 {
		owner := fmt.Sprint("owner", random.IntN(3))
		name := fmt.Sprint("n", random.IntN(8))
		text := `"` + strings.Repeat("v", random.IntN(50)) + fmt.Sprint(step) + `"`
		switch random.IntN(6) {
		case 0, 1:
			r.set(owner, name, text)
			keys[owner+name] = text
		case 2:
			_, old, err := r.Change(t.Context(), owner, Change{Key: name, Kind: DeleteKey})
			if err != nil || string(old[0].Value) != keys[owner+name] {
				t.Fatalf("deleted %+v, %v", old, err)
			}
			delete(keys, owner+name)
		case 3:
			r.put(owner, name, text)
			blobs[owner+name] = text
		case 4:
			_, old, err := r.DeleteBlob(t.Context(), owner, name, nil)
			if _, had := blobs[owner+name]; err != nil || had != (old.Revision != 0) {
				t.Fatalf("deleted %+v, %v", old, err)
			}
			delete(blobs, owner+name)
		case 5:
			if random.IntN(20) == 0 {
				r = r.reopened()
			}
		}
	}
	r.verify()
	if got := r.fileCount(); got != len(blobs) {
		t.Errorf("there are %d files, and %d blobs", got, len(blobs))
	}
	for n := range 3 {
		owner := fmt.Sprint("owner", n)
		for k := range 8 {
			name := fmt.Sprint("n", k)
			if want, there := blobs[owner+name]; there && r.text(owner, name) != want {
				t.Errorf("the blob %s of %s is not %q", name, owner, want)
			}
			e, err := r.Get(t.Context(), owner, name)
			if want, there := keys[owner+name]; there != (err == nil) || string(e.Value) != want {
				t.Errorf("the key %s of %s is %+v, %v, want %q", name, owner, e, err, want)
			}
		}
	}
}
