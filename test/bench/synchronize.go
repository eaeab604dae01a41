package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/plugins/host"
	"dormouse/plugins/packager"
	"dormouse/plugins/packager/manifest"
)

// synchronizedPackages is how many packages are installed in the measurement of a start at which
// none has changed.
const synchronizedPackages = 100

// measureSynchronize opens a hundred packages that have not changed since the last start: their
// records, the synchronization, and the instances of each.
func measureSynchronize(ctx context.Context, b *bench) (_ []row, err error) {
	h, err := openInstallHost(ctx)
	if err != nil {
		return nil, err
	}
	installed := h.installSmall(ctx, filepath.Join(b.plugins, "echo"), synchronizedPackages)
	if err := errors.Join(installed, h.closeHost()); err != nil { //nolint:contextcheck // it ends what ctx may have ended
		return nil, errors.Join(err, os.RemoveAll(h.dir))
	}
	defer func() { err = errors.Join(err, os.RemoveAll(h.dir)) }()
	r := row{
		what:      fmt.Sprintf("synchronize %d unchanged packages", synchronizedPackages),
		yardstick: "walk their files", within: 150 * time.Millisecond,
	}
	s, err := store.Open(filepath.Join(h.root(), host.StoreName), store.Options{CheckAfter: time.Hour})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	err = rounds(ctx, max(b.runs, 20), func() error {
		return errors.Join(
			timed(&r.own, func() error { return synchronize(s, h.root()) }),
			timed(&r.plain, func() error { return walk(filepath.Join(h.root(), packager.DirName)) }),
		)
	}, &r.own, &r.plain)
	return []row{r}, err
}

// installSmall installs n packages whose program is a script that runs program.
func (h *installHost) installSmall(ctx context.Context, program string, n int) error {
	for i := range n {
		dir := filepath.Join(h.dir, fmt.Sprintf("p%d", i))
		lines := fmt.Sprintf("name = \"p%d\"\nversion = \"1.0.0\"\nprovides = [\"type-%d 1.0.0\"]\n[program]\nlinux-%s = \"plugin\"\n[[instance]]\ncallsign = \"P%d\"\nstart-mode = \"deactivated\"\n",
			i, i, runtime.GOARCH, i)
		err := errors.Join(
			os.Mkdir(dir, 0o700),
			os.WriteFile(filepath.Join(dir, "plugin"), fmt.Appendf(nil, "#!/bin/sh\nexec %s\n", program), 0o700), //nolint:gosec // it is a program
			os.WriteFile(filepath.Join(dir, "data"), make([]byte, 1<<20), 0o600),
			os.WriteFile(filepath.Join(dir, manifest.FileName), []byte(lines), 0o600),
		)
		if err == nil {
			err = h.operate(ctx, "install", dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// synchronize is what a start does with the packages before there are instances.
func synchronize(s *store.Store, root string) error {
	p, err := packager.Open(packager.Options{
		Root: filepath.Join(root, packager.DirName), Store: s, Config: configs.Default().Packages, Log: zerolog.Nop(),
	})
	if err != nil {
		return err
	}
	defer p.Close()
	if found := len(p.Provided()); found != synchronizedPackages {
		return fmt.Errorf("%d packages are there instead of %d", found, synchronizedPackages)
	}
	return nil
}

// walk looks at every file below dir.
func walk(dir string) error {
	return filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil {
			_, err = e.Info()
		}
		return err
	})
}
