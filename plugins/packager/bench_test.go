package packager

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/records"
)

// BenchmarkUnchangedSync opens a hundred packages that have not changed: records, synchronization
// and the instances of each. It must take at most 150 ms.
func BenchmarkUnchangedSync(b *testing.B) {
	root := b.TempDir()
	s, err := store.Open(filepath.Join(root, "store.db"), store.Options{})
	must(b, err)
	defer s.Close()
	o := Options{Root: filepath.Join(root, DirName), Store: s, Config: configs.Default().Packages, Version: "v1", Log: zerolog.Nop()}
	p, err := Open(o)
	must(b, err)
	for i := range 100 {
		name := fmt.Sprintf("p%d", i)
		draft, err := p.dirs.NewDraft(name)
		must(b, err)
		must(b, os.MkdirAll(filepath.Join(draft, "bin"), 0o755))
		must(b, os.WriteFile(filepath.Join(draft, "bin", "plugin"), make([]byte, 1<<20), 0o755))
		must(b, os.WriteFile(filepath.Join(draft, "plugin.toml"), []byte(manifestText(name, "1.0.0", "")+instanceText("I"+name, "1", "")), 0o644))
		sums, err := archive.Sums(b.Context(), draft)
		must(b, err)
		must(b, os.WriteFile(filepath.Join(draft, archive.SumsName), sums, 0o644))
		v := records.Version{Version: "1.0.0", Digest: string(archive.DigestOf(sums))}
		must(b, p.dirs.PublishVersion(draft, name, v.Digest))
		must(b, p.dirs.Link(name, v.Digest))
		c, err := p.describe(name, v)
		must(b, err)
		_, err = p.records.Step(name, records.Insert, func(r *records.Record) error {
			r.Serving = &c.version
			return nil
		})
		must(b, err)
	}
	p.Close()
	for b.Loop() {
		p, err := Open(o)
		must(b, err)
		if all := p.Provided(); len(all) != 100 {
			b.Fatalf("%d packages are there", len(all))
		}
		p.Close()
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
