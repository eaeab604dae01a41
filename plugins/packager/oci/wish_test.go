package oci

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"dormouse/plugins/packager/oci/ocitest"
)

// Two publishers of different packages lose neither's wish; of the same package the later
// wins. What is no wish is left out, and an unreachable registry is an error without wishes.
func TestWishes(t *testing.T) {
	f := newRegistry(t)
	c := f.client(t, Options{})
	central := f.reference("")
	begun := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	publish := func(name, digit string, at time.Time) {
		t.Helper()
		r := Reference{Host: "r.example.com", Repository: name, Digest: "sha256:" + strings.Repeat(digit, 64)}
		if _, err := c.PublishWish(t.Context(), central, Wish{Package: name, Reference: r, Published: at}); err != nil {
			t.Fatal(err)
		}
	}
	if none, err := c.Wishes(t.Context(), central); err != nil || len(none) != 0 {
		t.Fatalf("%v, %v", none, err)
	}
	publish("clock", "1", begun)
	publish("radio", "2", begun)
	publish("clock", "3", begun.Add(time.Hour))
	publish("clock", "3", begun) // its clock is slow, and it comes later
	if w, err := c.wish(t.Context(), central, "clock"); err != nil || !w.Published.Equal(begun.Add(time.Hour+1)) {
		t.Errorf("%+v, %v", w, err)
	}
	if _, err := c.Push(t.Context(), f.reference("want-nothing"), bytes.NewReader(clock), clockLabel, nil); err != nil {
		t.Fatal(err)
	}
	wishes, err := c.Wishes(t.Context(), central)
	if err == nil || !strings.Contains(err.Error(), "want-nothing") && !strings.Contains(err.Error(), "the wish for nothing") {
		t.Errorf("a package under the tag of a wish: %v", err)
	}
	if got := slices.Sorted(maps.Keys(wishes)); !slices.Equal(got, []string{"clock", "radio"}) {
		t.Fatalf("%q", got)
	}
	if w := wishes["clock"]; !w.Published.Equal(begun.Add(time.Hour+1)) || !strings.HasSuffix(w.Reference.String(), strings.Repeat("3", 64)) {
		t.Errorf("%+v", w)
	}
	f.Before(func(w http.ResponseWriter, _ *http.Request) bool {
		ocitest.Refuse(w, http.StatusUnauthorized, "DENIED")
		return true
	})
	if wishes, err := c.Wishes(t.Context(), central); wishes != nil || !errors.Is(err, ErrNotAllowed) {
		t.Errorf("%v, %v", wishes, err)
	}
}
