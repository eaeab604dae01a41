package images

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExtents(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(x *Extents)
		want Extents
	}{
		"cut the middle":  {func(x *Extents) { x.Remove(12, 14) }, Extents{{10, 12, 0, false, false}, {14, 20, 4, false, false}, {30, 40, 10, true, false}}},
		"cut the edges":   {func(x *Extents) { x.Remove(15, 35) }, Extents{{10, 15, 0, false, false}, {35, 40, 15, true, false}}},
		"cut all":         {func(x *Extents) { x.Remove(0, 100) }, Extents{}},
		"cut nothing":     {func(x *Extents) { x.Remove(20, 30) }, Extents{{10, 20, 0, false, false}, {30, 40, 10, true, false}}},
		"move up":         {func(x *Extents) { x.Move(15, 35, 50) }, Extents{{10, 15, 0, false, false}, {35, 40, 15, true, false}, {50, 55, 5, false, true}, {65, 70, 10, true, true}}},
		"move onto":       {func(x *Extents) { x.Move(10, 15, 32) }, Extents{{15, 20, 5, false, false}, {30, 32, 10, true, false}, {32, 37, 0, false, true}, {37, 40, 17, true, false}}},
		"move emptiness":  {func(x *Extents) { x.Move(22, 26, 31) }, Extents{{10, 20, 0, false, false}, {30, 31, 10, true, false}, {35, 40, 15, true, false}}},
		"unmap":           {func(x *Extents) { x.RemoveUnmoved(15, 35) }, Extents{{10, 15, 0, false, false}, {35, 40, 15, true, false}}},
		"unmap too late":  {func(x *Extents) { x.Move(30, 40, 12); x.RemoveUnmoved(12, 22) }, Extents{{10, 12, 0, false, false}, {12, 22, 10, true, true}}},
		"hand to a child": {func(x *Extents) { *x = x.InheritedByChild() }, Extents{{10, 20, 0, false, false}}},
	} {
		x := Extents{{10, 20, 0, false, false}, {30, 40, 10, true, false}}
		test.do(&x)
		if diff := cmp.Diff(test.want, x); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Random removals and moves give the same as a list of single pages.
func TestExtentsAtRandom(t *testing.T) {
	const size = 64
	dice := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var want [2 * size]int64 // offset + 1 of each page
		x := Extents{{End: size}}
		for i := range size {
			want[i] = int64(i) + 1
		}
		for range 20 {
			start := dice.Uint64N(size)
			end := start + 1 + dice.Uint64N(size-start)
			if dice.IntN(2) == 0 {
				x.Remove(start, end)
				clear(want[start:end])
				continue
			}
			to := dice.Uint64N(2*size - (end - start))
			x.Move(start, end, to)
			moved := append([]int64(nil), want[start:end]...)
			clear(want[start:end])
			copy(want[to:], moved)
		}
		var got [2 * size]int64
		last := uint64(0)
		for _, e := range x {
			if e.Start < last || e.Start >= e.End {
				t.Fatalf("%v is out of order in %v", e, x)
			}
			last = e.End
			for at := e.Start; at < e.End; at++ {
				got[at] = e.Offset + int64(at-e.Start) + 1
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestEagerChunks(t *testing.T) {
	const chunk = 1 << 20
	for name, test := range map[string]struct {
		lazy []Extent
		size int64
		want []int64
	}{
		"nothing lazy":   {nil, 2*chunk + 1, []int64{0, 1, 2}},
		"all lazy":       {[]Extent{{0, 3 * chunk, 0, false, false}}, 3 * chunk, nil},
		"a hole":         {[]Extent{{0, chunk, 0, false, false}, {0, chunk, chunk + 4096, false, false}}, 2*chunk + 4096, []int64{1}},
		"holes in one":   {[]Extent{{0, 4096, 4096, false, false}, {0, 4096, 3 * 4096, false, false}}, 4 * 4096, []int64{0}},
		"across an edge": {[]Extent{{0, chunk - 4096, 0, false, false}}, chunk + 4096, []int64{0, 1}},
	} {
		if diff := cmp.Diff(test.want, eagerChunkIndices(test.lazy, test.size)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestExtentsAreDividedAlongMappings(t *testing.T) {
	mappings := Extents{{End: 10}, {Start: 10, End: 20, Wiped: true}, {Start: 20, End: 30}}
	want := Extents{{5, 10, 100, false, false}, {10, 20, 105, true, false}, {20, 25, 115, false, false}}
	if diff := cmp.Diff(want, splitAndMarkWiped(Extent{5, 25, 100, false, false}, mappings)); diff != "" {
		t.Error(diff)
	}
	want = Extents{{10, 20, 0, true, false}}
	if diff := cmp.Diff(want, splitAndMarkWiped(Extent{10, 20, 0, false, false}, mappings)); diff != "" {
		t.Error(diff)
	}
}
