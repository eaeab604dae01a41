package host

import (
	"context"
	"maps"
	"path/filepath"
	"slices"

	"dormouse/configs"
	"dormouse/plugins/packager"
	"dormouse/shell/process"
	"dormouse/supervisor"
)

// openPackages opens the packages, before the supervisor exists. A private host has none.
func (h *Host) openPackages() (err error) {
	config := h.options.Config
	h.Packager, err = packager.Open(packager.Options{
		Root:    filepath.Join(config.Host.Root, packager.DirName),
		Store:   h.store,
		Config:  config.Packages,
		Version: h.options.Version,
		Log:     h.log,

		Overlays:   config.Overlays,
		Subsystems: config.Host.AllSubsystems(),
		PersistentDir: func(callsign string) string {
			return filepath.Join(config.Host.Root, process.PersistentName, callsign)
		},
		RemoveInstanceFiles: func(callsign string) error { return h.Supervisor.RemoveKept(callsign) },
		ImagesUse:           h.Processes.Images.UsesCodeIn,
		Flows:               h.packageFlows(),
		State:               h.packageState(),
	})
	return err
}

// providedByPackages returns the instances of each package. A package whose instances clash with
// those of the files, or of another package, is left out and logged: the host starts without it.
func (h *Host) providedByPackages() map[string][]configs.Plugin {
	all := map[string][]configs.Plugin{supervisor.FilesSource: h.options.Config.Plugins}
	provided := h.Packager.Provided()
	for _, name := range slices.Sorted(maps.Keys(provided)) {
		all[name] = provided[name]
		if err := supervisor.CheckClashes(all, h.options.Config.LeftOut); err != nil {
			h.log.Error().Err(err).Str("package", name).Msg("the instances of the package are left out")
			delete(all, name)
		}
	}
	delete(all, supervisor.FilesSource)
	return all
}

// StartPlugins starts the instances that start with the host, and then takes up what an earlier
// host has begun with packages. From its beginning on plugin registries are told of changes.
func (h *Host) StartPlugins(ctx context.Context) {
	h.telling.start(h.qhana)
	h.Supervisor.Start(ctx)
	if ctx.Err() == nil {
		h.Packager.Start()
	}
}

// StopPackageOperations ends the operations on packages, which the next host goes on with. It is
// called before the plugins are stopped.
func (h *Host) StopPackageOperations() { h.Packager.Close() }

// ReloadPackages gives the packages a configuration that was read again, and returns one line for
// each change.
func (h *Host) ReloadPackages(ctx context.Context, config configs.Config) (changeLines []string, err error) {
	return h.Packager.Reconfigure(ctx, config.Packages, config.Overlays)
}
