package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"dormouse/configs"
	"dormouse/plugins/host"
	"dormouse/plugins/packager"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/manifest"
	"dormouse/shell"
	"dormouse/supervisor"
)

// installedMiB is the size of the package that is installed, with its program.
const installedMiB = 50

// measureInstall installs a package of 50 MiB into a host, in turn with cp of its archive, tar -x,
// sync, and one probe of its program.
func measureInstall(ctx context.Context, b *bench) (_ []row, err error) {
	h, err := openInstallHost(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.closeHost(), os.RemoveAll(h.dir)) }() //nolint:contextcheck // it ends what ctx may have ended
	program := filepath.Join(b.plugins, "echo")
	file := filepath.Join(h.dir, "package.tar.zst")
	if err := writeInstalledArchive(ctx, filepath.Join(h.dir, "source"), program, file); err != nil {
		return nil, err
	}
	probed := configs.DefaultPlugin()
	probed.Callsign, probed.Executable = "Probed", program
	r := row{what: fmt.Sprintf("install a package of %d MiB", installedMiB), yardstick: "cp, tar -x, sync, one probe", aim: 1.5}
	err = h.compare(ctx, b.runs, file, probed, &r)
	return []row{r}, err
}

// installHost is a host that installs packages.
type installHost struct {
	*host.Host
	dir  string
	ends operationEnds
}

// openInstallHost starts one with a directory of its own.
func openInstallHost(ctx context.Context) (_ *installHost, err error) {
	h := &installHost{ends: make(operationEnds, 16)}
	if h.dir, err = os.MkdirTemp("", "dmi"); err != nil {
		return nil, err
	}
	config := configs.Default()
	config.Host.Root, config.Hibernate.Dir = h.root(), filepath.Join(h.dir, "images")
	if h.Host, err = host.Open(host.Options{Config: config, RunDir: filepath.Join(h.dir, "run"), Log: zerolog.Nop()}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(h.dir))
	}
	h.Supervisor.Listen(h.ends)
	h.StartPlugins(ctx)
	return h, nil
}

func (h *installHost) root() string { return filepath.Join(h.dir, "root") }

// closeHost leaves the files of the host.
func (h *installHost) closeHost() error {
	h.StopPackageOperations()
	return errors.Join(h.StopPluginsAndCommunicator(context.Background()), h.CleanUpAndClose(false))
}

// writeInstalledArchive writes a package whose one instance does not start by itself, and its
// archive.
func writeInstalledArchive(ctx context.Context, dir, program, file string) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if err := writePackage(dir, installedMiB-len(text)>>20); err != nil {
		return err
	}
	lines := fmt.Sprintf("name = \"bench\"\nversion = \"1.0.0\"\n[program]\nlinux-%s = \"plugin\"\n[[instance]]\ncallsign = \"Bench\"\nstart-mode = \"deactivated\"\n", runtime.GOARCH)
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "plugin"), text, 0o700), //nolint:gosec // it is a program
		os.WriteFile(filepath.Join(dir, manifest.FileName), []byte(lines), 0o600),
	)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	if _, err := archive.Build(ctx, dir, &packed, archive.TarZstd, manifest.FileName, nil); err != nil {
		return err
	}
	return os.WriteFile(file, packed.Bytes(), 0o600)
}

// compare adds how long both ways take.
func (h *installHost) compare(ctx context.Context, runs int, file string, probed configs.Plugin, r *row) error {
	unpacked := filepath.Join(h.dir, "unpacked")
	return rounds(ctx, runs, func() error {
		unix.Sync() // no run pays for what an earlier one wrote
		err := timed(&r.plain, func() error {
			cmd := exec.CommandContext(ctx, "sh", "-ec", `mkdir "$2"; cp "$1" "$2/copy"; tar -C "$2" -xf "$2/copy"; sync`, "sh", file, unpacked)
			if err := cmd.Run(); err != nil {
				return err
			}
			_, err := h.Supervisor.Probe(ctx, probed)
			return err
		})
		if err := errors.Join(err, os.RemoveAll(unpacked)); err != nil {
			return err
		}
		unix.Sync()
		if err := timed(&r.own, func() error { return h.operate(ctx, "install", file) }); err != nil {
			return err
		}
		return h.operate(ctx, "uninstall", "bench")
	}, &r.own, &r.plain)
}

// operate has the Packager do something with a package, and returns when that has ended.
func (h *installHost) operate(ctx context.Context, method, what string) error {
	sh, ok := h.Supervisor.Shell(packager.Callsign)
	if !ok {
		return errors.New("the host has no Packager")
	}
	params, err := json.Marshal(map[string]string{"package": what})
	if err != nil {
		return err
	}
	if _, err := sh.Invoke(ctx, shell.Call{Method: method, Params: params}); err != nil {
		return err
	}
	select {
	case end := <-h.ends:
		if end.Result != "done" {
			return fmt.Errorf("%s of %s: %s", method, what, end.Reason)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// operationEnds are the operations on packages that have ended.
type operationEnds chan operationEnd

// operationEnd is how one has ended.
type operationEnd struct{ Result, Reason string }

func (operationEnds) Transition(shell.Transition)       {}
func (operationEnds) Subsystems([]supervisor.Subsystem) {}

// Roster does nothing: the listener needs no changes of the roster.
func (operationEnds) Roster(supervisor.RosterChange) {}

// Notification takes up the end of an operation.
func (e operationEnds) Notification(callsign string, n shell.Notification) {
	var end operationEnd
	if callsign == packager.Callsign && n.Event == "operationend" && json.Unmarshal(n.Params, &end) == nil {
		e <- end
	}
}
