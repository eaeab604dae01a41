package criu

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var exact = cmp.AllowUnexported(extent{}, mapping{})

func TestExtents(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(x *extents)
		want extents
	}{
		"cut the middle":  {func(x *extents) { x.cut(12, 14) }, extents{{10, 12, 0, false, false}, {14, 20, 4, false, false}, {30, 40, 10, true, false}}},
		"cut the edges":   {func(x *extents) { x.cut(15, 35) }, extents{{10, 15, 0, false, false}, {35, 40, 15, true, false}}},
		"cut all":         {func(x *extents) { x.cut(0, 100) }, extents{}},
		"cut nothing":     {func(x *extents) { x.cut(20, 30) }, extents{{10, 20, 0, false, false}, {30, 40, 10, true, false}}},
		"move up":         {func(x *extents) { x.move(15, 35, 50) }, extents{{10, 15, 0, false, false}, {35, 40, 15, true, false}, {50, 55, 5, false, true}, {65, 70, 10, true, true}}},
		"move onto":       {func(x *extents) { x.move(10, 15, 32) }, extents{{15, 20, 5, false, false}, {30, 32, 10, true, false}, {32, 37, 0, false, true}, {37, 40, 17, true, false}}},
		"move emptiness":  {func(x *extents) { x.move(22, 26, 31) }, extents{{10, 20, 0, false, false}, {30, 31, 10, true, false}, {35, 40, 15, true, false}}},
		"unmap":           {func(x *extents) { x.unmap(15, 35) }, extents{{10, 15, 0, false, false}, {35, 40, 15, true, false}}},
		"unmap too late":  {func(x *extents) { x.move(30, 40, 12); x.unmap(12, 22) }, extents{{10, 12, 0, false, false}, {12, 22, 10, true, true}}},
		"hand to a child": {func(x *extents) { *x = x.forked() }, extents{{10, 20, 0, false, false}}},
	} {
		x := extents{{10, 20, 0, false, false}, {30, 40, 10, true, false}}
		test.do(&x)
		if diff := cmp.Diff(test.want, x, exact); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Extents are what they are page by page.
func TestExtentsAtRandom(t *testing.T) {
	const size = 64
	dice := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var want [2 * size]int64 // offset + 1 of each page
		x := extents{{end: size}}
		for i := range size {
			want[i] = int64(i) + 1
		}
		for range 20 {
			start := dice.Uint64N(size)
			end := start + 1 + dice.Uint64N(size-start)
			if dice.IntN(2) == 0 {
				x.cut(start, end)
				clear(want[start:end])
				continue
			}
			to := dice.Uint64N(2*size - (end - start))
			x.move(start, end, to)
			moved := append([]int64(nil), want[start:end]...)
			clear(want[start:end])
			copy(want[to:], moved)
		}
		var got [2 * size]int64
		last := uint64(0)
		for _, e := range x {
			if e.start < last || e.start >= e.end {
				t.Fatalf("%v is out of order in %v", e, x)
			}
			last = e.end
			for at := e.start; at < e.end; at++ {
				got[at] = e.offset + int64(at-e.start) + 1
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestChunksOutside(t *testing.T) {
	const chunk = 1 << 20
	for name, test := range map[string]struct {
		lazy []extent
		size int64
		want []int64
	}{
		"nothing lazy":   {nil, 2*chunk + 1, []int64{0, 1, 2}},
		"all lazy":       {[]extent{{0, 3 * chunk, 0, false, false}}, 3 * chunk, nil},
		"a hole":         {[]extent{{0, chunk, 0, false, false}, {0, chunk, chunk + 4096, false, false}}, 2*chunk + 4096, []int64{1}},
		"holes in one":   {[]extent{{0, 4096, 4096, false, false}, {0, 4096, 3 * 4096, false, false}}, 4 * 4096, []int64{0}},
		"across an edge": {[]extent{{0, chunk - 4096, 0, false, false}}, chunk + 4096, []int64{0, 1}},
	} {
		if diff := cmp.Diff(test.want, chunksOutside(test.lazy, test.size)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestExtentsAreDividedAlongMappings(t *testing.T) {
	maps := mappings{{0, 10, false}, {10, 20, true}, {20, 30, false}}
	want := extents{{5, 10, 100, false, false}, {10, 20, 105, true, false}, {20, 25, 115, false, false}}
	if diff := cmp.Diff(want, maps.split(extent{5, 25, 100, false, false}), exact); diff != "" {
		t.Error(diff)
	}
	want = extents{{10, 20, 0, true, false}}
	if diff := cmp.Diff(want, maps.split(extent{10, 20, 0, false, false}), exact); diff != "" {
		t.Error(diff)
	}
}
