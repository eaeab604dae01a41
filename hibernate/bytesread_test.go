package hibernate_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"dormouse/hibernate"
	"dormouse/hibernate/pack"
)

// sizesOnDisk returns the size of the page file of the fixture's image, and of all other
// files but the manifest.
func (b *fixture) sizesOnDisk(t *testing.T) (pages, rest int64) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(b.dir, "Counter/image"))
	must(t, err)
	for _, entry := range entries {
		info, err := entry.Info()
		must(t, err)
		switch entry.Name() {
		case "manifest":
		case "pages-1.img":
			pages += info.Size()
		default:
			rest += info.Size()
		}
	}
	return pages, rest
}

// The bytes that a lazy wake says it has read are those on disk that it has: of packed
// images the packed ones, and each chunk once.
func TestBytesRead(t *testing.T) {
	all := map[string]pack.Options{"as it is": {}}
	maps.Copy(all, packings)
	for name, packing := range all {
		t.Run(name, func(t *testing.T) {
			b, _ := newPackedFixture(t, packing)
			image := b.mustCheckpoint(t)
			pages, rest := b.sizesOnDisk(t)
			if got := image.StoredBytes(); got != pages+rest || rest == 0 {
				t.Errorf("the image has %d bytes on disk, not %d and %d", got, pages, rest)
			}
			lazy := &memoryKeeper{Fake: b.engine}
			root, loading, err := image.RestoreLazy(t.Context(), lazy, b.optionsWithoutCgroup())
			must(t, err)
			defer func() { must(t, killAndWait(root)) }()
			handedOver := receiveMemory(t, lazy.memory)
			expect := func(what string, got, want int64) {
				t.Helper()
				if got != want {
					t.Errorf("%s: %d bytes were read, not %d", what, got, want)
				}
			}
			expect("nothing but the other files", loading.BytesRead(), rest)
			buffer := make([]byte, hibernate.ChunkSize)
			for range 2 {
				_, err = lazy.memory.ReadVerifiedChunk("pages-1.img", 1, buffer) // it can't be compressed
				must(t, err)
			}
			expect("one chunk, twice", loading.BytesRead(), rest+hibernate.ChunkSize)
			if _, err := lazy.memory.ReadVerifiedChunk("pages-1.img", 3, buffer); err == nil {
				t.Error("there is a chunk 3")
			}
			expect("no such chunk", loading.BytesRead(), rest+hibernate.ChunkSize)
			loading.Hurry()
			loading.Close()
			expect("all", loading.BytesRead(), pages+rest)

			_, err = handedOver.ReadVerifiedChunk("pages-1.img", 1, buffer)
			must(t, err)
			expect("elsewhere", handedOver.BytesRead(), rest+hibernate.ChunkSize)
			must(t, handedOver.Close())
		})
	}
}
