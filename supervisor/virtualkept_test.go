package supervisor

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/shell"
)

// A virtual plugin is missing as long as the file is left out that defines its parent.
func TestVirtualOfLeftOutParent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	runWith(t, parents, keeping(path), func(r *rig) {
		r.closing()
		r.Start(r.Context())
		r.create("P", "C")
		r.create("Q", "D")
	})
	var files []configs.Plugin
	runWith(t, parents, func(o *Options) {
		keeping(path)(o)
		files = slices.Clone(o.Plugins)
		o.Plugins = slices.DeleteFunc(o.Plugins, func(p configs.Plugin) bool { return p.Callsign == "P" })
		o.LeftOut = configs.LeftOutFiles{{Path: "bad.toml", Callsigns: []string{"P"}, IsComplete: true}}
	}, func(r *rig) {
		r.closing()
		r.Start(r.Context())
		if !r.IsMissing("C") || r.IsMissing("D") || r.IsMissing("E") {
			t.Error("the wrong ones are missing")
		}
		if err := r.UnknownError("C"); !strings.Contains(err.Error(), "the file that defines it could not be used") {
			t.Errorf("got %v", err)
		}
		_, err := r.Reload(r.Context(), files)
		r.must(err)
		r.expectIs("C", shell.Activated)
		if r.IsMissing("C") {
			t.Error("it is missing although it is there")
		}
	})
}

// What is kept of a virtual plugin stays while its parent is not configured, comes back with it,
// also on the next host, and goes with the virtual plugin, or when the parent's data goes.
func TestVirtualComesBackWithItsParent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	var removed []string
	host := func(test func(*rig)) {
		runWith(t, parents, func(o *Options) {
			keeping(path)(o)
			o.RemoveKept = func(callsign string) error { removed = append(removed, callsign); return nil }
		}, test)
	}
	host(func(r *rig) {
		r.closing()
		r.Start(r.Context())
		r.create("P", "C")
		r.create("P", "D")
		r.create("Q", "E")
	})
	host(func(r *rig) {
		r.closing()
		ctx := r.Context()
		r.expectIs("C", shell.Precondition)
		r.Start(ctx)
		r.expectIs("C", shell.Activated)
		if v, _ := r.VirtualOf("C"); string(v.Configuration) != `{"of":"C"}` {
			r.Errorf("it has the configuration %s", v.Configuration)
		}
		r.must(r.RemoveVirtual(ctx, "P", "D"))
		q, p, down := r.shell("Q").Config(), r.shell("P").Config(), r.shell("Down").Config()
		lines, err := r.Reload(ctx, []configs.Plugin{q, down})
		r.must(err)
		if !slices.Contains(lines, "P: removed") {
			r.Errorf("got %q", lines)
		}
		r.expectIs("C", "")
		if _, there := r.VirtualOf("C"); there {
			r.Error("it is there without its parent")
		}
		if err := r.CreateVirtual(ctx, "Q", Virtual{Callsign: "C"}); !errors.Is(err, ErrExists) {
			r.Errorf("another got what is kept of it: %v", err)
		}
		if err := r.Clone(ctx, "Q", "C"); !errors.Is(err, ErrExists) {
			r.Errorf("a clone got what is kept of it: %v", err)
		}
		if err := r.Clone(ctx, "Q", "P"); !errors.Is(err, ErrExists) {
			r.Errorf("a clone got another's virtual plugins: %v", err)
		}
		_, err = r.Reload(ctx, []configs.Plugin{q, down, p})
		r.must(err)
		r.expectIs("C", shell.Activated)
		_, err = r.Reload(ctx, []configs.Plugin{q, down})
		r.must(err)
	})
	if !slices.Equal(removed, []string{"D"}) {
		t.Errorf("what was kept of %v was removed", removed)
	}
	host(func(r *rig) {
		r.closing()
		r.Start(r.Context())
		r.expectIs("C", shell.Activated)
		r.expectIs("D", "")
		_, err := r.Reload(r.Context(), []configs.Plugin{r.shell("Q").Config()})
		r.must(err)
		r.must(r.RemoveKept("P"))
		if kept := r.VirtualsOf("P"); len(kept) > 0 {
			r.Errorf("%v is left", kept)
		}
		r.create("Q", "C")
	})
	if want := []string{"D", "C", "P"}; !slices.Equal(removed, want) {
		t.Errorf("what was kept of %v was removed, want %v", removed, want)
	}
}

// A clone has virtual plugins of its own, which go with it.
func TestVirtualsOfClone(t *testing.T) {
	var removed []string
	runWith(t, parents, func(o *Options) {
		o.RemoveKept = func(callsign string) error { removed = append(removed, callsign); return nil }
	}, func(r *rig) {
		r.closing()
		ctx := r.Context()
		r.Start(ctx)
		r.create("P", "C")
		r.must(r.Clone(ctx, "P", "K"))
		if own := r.VirtualsOf("K"); len(own) > 0 {
			r.Errorf("the clone has %v", own)
		}
		r.must(r.shell("K").Activate(ctx, shell.Requested))
		r.create("K", "CK")
		r.must(r.Destroy(ctx, "K"))
		r.expectIs("CK", "")
		r.expectIs("C", shell.Activated)
		if want := []string{"CK", "K"}; !slices.Equal(removed, want) {
			r.Errorf("what was kept of %v was removed, want %v", removed, want)
		}
		r.must(r.Clone(ctx, "P", "K"))
	})
}

// A virtual plugin whose data can't be removed is there again, and can be removed later.
func TestVirtualCanBeRemovedLater(t *testing.T) {
	fails := errors.New("the disk is full")
	runWith(t, parents, func(o *Options) {
		o.RemoveKept = func(string) error { return fails }
	}, func(r *rig) {
		r.closing()
		r.Start(r.Context())
		r.create("P", "C")
		if err := r.RemoveVirtual(r.Context(), "P", "C"); !errors.Is(err, fails) {
			r.Errorf("got %v", err)
		}
		r.expectIs("C", shell.Activated)
		r.must(r.shell("P").Deactivate(r.Context(), shell.Requested))
		r.expectIs("C", shell.Precondition)
		fails = nil
		r.must(r.RemoveVirtual(r.Context(), "P", "C"))
		r.expectIs("C", "")
	})
}

// An instance that the configuration gives the callsign of a virtual plugin is not started: it must
// not get what is kept of that.
func TestConfigurationTakesCallsignOfVirtual(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	runWith(t, parents, keeping(path), func(r *rig) {
		r.closing()
		r.Start(r.Context())
		r.create("P", "C")
	})
	runWith(t, append(slices.Clone(parents), instance{"C", configs.StartActivated, 0, nil}), keeping(path), func(r *rig) {
		r.closing()
		r.Start(r.Context())
		r.expectIs("C", shell.Deactivated)
		if err := r.shell("C").Activate(r.Context(), shell.Requested); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "virtual plugin C of P") {
			r.Errorf("got %v", err)
		}
		if err := r.CreateVirtual(r.Context(), "P", Virtual{Callsign: "C", Configuration: json.RawMessage(`{"of":"C"}`)}); !errors.Is(err, ErrExists) {
			r.Errorf("got %v", err)
		}
		_, err := r.Reload(r.Context(), []configs.Plugin{r.shell("P").Config(), r.shell("Q").Config(), r.shell("Down").Config()})
		r.must(err)
		r.create("P", "C")
		r.expectIs("C", shell.Activated)
	})
}
