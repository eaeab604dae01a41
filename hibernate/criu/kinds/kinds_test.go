package kinds

import (
	"slices"
	"testing"
)

// TestRows checks that every row says what its fate asks for, and that no kind has two.
func TestRows(t *testing.T) {
	seen := make(map[Kind]bool)
	for _, r := range All() {
		if r.Text == "" || seen[r.Kind] {
			t.Errorf("the row of %s has no text, or is the second", r.Kind)
		}
		seen[r.Kind] = true
		if refused := r.Fate == Refused; refused != (r.Name != "") || refused != (r.Advice != "") {
			t.Errorf("%s is %s, but an error would say %q: %q", r.Kind, r.Fate, r.Name, r.Advice)
		}
		if !slices.Contains([]Fate{ComesBack, BroughtBack, Refused, Lost}, r.Fate) {
			t.Errorf("%s has the fate %q", r.Kind, r.Fate)
		}
	}
}

func TestWithout(t *testing.T) {
	rest := All().Without("pipe")
	if _, isKnown := rest.Find("pipe"); isKnown || len(rest) != len(All())-1 {
		t.Errorf("%d rows are left, one of a pipe: %t", len(rest), isKnown)
	}
}
