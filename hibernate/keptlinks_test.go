package hibernate_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dormouse/hibernate"
)

// The links that an image needs are there as long as the image can be restored, and gone when
// it is gone, however it ended.
func TestLinksEndWithTheirImage(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, b *fixture, image *hibernate.Image) error{
		"woken": func(t *testing.T, b *fixture, image *hibernate.Image) error {
			t.Helper()
			b.mustWake(t, image)
			if exists(b.engine.Link) {
				t.Error("the tree runs beside the link")
			}
			b.tree.Kill(t.Context())
			return nil
		},
		"invalidated":        func(_ *testing.T, _ *fixture, image *hibernate.Image) error { return image.InvalidateAndDelete() },
		"discarded as spent": func(_ *testing.T, b *fixture, _ *hibernate.Image) error { return b.imageDir.DiscardSpent() },
		"instance removed":   func(_ *testing.T, b *fixture, _ *hibernate.Image) error { return b.imageDir.RemoveAll() },
		"quarantined and swept": func(_ *testing.T, b *fixture, _ *hibernate.Image) error {
			_, err := b.imageDir.Quarantine()
			_, serr := b.store.Sweep(hibernate.Sweeping{
				IsKnown: func(string) bool { return true }, IsMissing: func(string) bool { return false },
				Now: hibernate.Moment{Wall: time.Now(), BootID: "boot"},
			})
			return errors.Join(err, serr)
		},
		"left as trash": func(t *testing.T, b *fixture, _ *hibernate.Image) error {
			t.Helper()
			base := filepath.Join(b.dir, "Counter")
			if err := os.Rename(filepath.Join(base, "image"), filepath.Join(base, "trash-1")); err != nil {
				return err
			}
			_, err := hibernate.OpenStore(b.dir)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			b.engine.Link = filepath.Join(t.TempDir(), "link")
			image := b.mustCheckpoint(t)
			if again := openStore(t, b.dir); !exists(b.engine.Link) || again == nil {
				t.Fatal("the link is gone while the image needs it")
			}
			if err := end(t, b, image); err != nil {
				t.Fatal(err)
			}
			b.store.Close()
			if exists(b.engine.Link) {
				t.Error("the link is left")
			}
			b.listFiles(t)
		})
	}
}

// A checkpoint that fails, or whose host is killed, leaves no links.
func TestLinksOfACheckpointThatFails(t *testing.T) {
	broken := errors.New("broken")
	b := newFixture(t)
	b.engine.Link = filepath.Join(t.TempDir(), "link")
	b.engine.DumpError = broken
	if _, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if exists(b.engine.Link) {
		t.Error("the link of a failed dump is left")
	}
	if left := b.listFiles(t); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	b.engine.DumpError = nil
	b.engine.StoppedObstacle = broken
	b.engine.BeforeDump = func() {}
	if _, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if exists(b.engine.Link) {
		t.Error("the link of a refused image is left")
	}
	b.tree.Kill(t.Context())
}

// exists reports whether there is a file at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
