package host

import (
	"net"
	"os"
	"path/filepath"

	"dormouse/configs"
	"dormouse/hibernate/criu"
	"dormouse/internal/atomicfile"
	"dormouse/internal/native"
	"dormouse/internal/store"
	"dormouse/internal/tamper"
	"dormouse/shell/process"
)

// openProcessHost opens the parts that all plugin processes share: the program of pid 1,
// cgroups and the engine. It warns if the machine has no cgroups, or cannot adopt plugins or
// limit them as configured.
func (h *Host) openProcessHost() error {
	config := h.options.Config
	programs := filepath.Join(config.Host.Root, programsName)
	pidone, err := native.InstallPidone(programs)
	if atomicfile.IsNoRoom(err) { // each start of a plugin tries again
		h.log.Error().Err(err).Msg("no plugin can start before there is room on the disk")
		pidone, err = "", nil
	}
	if err != nil {
		return err
	}
	if h.options.private {
		if err := os.MkdirAll(h.options.RunDir, 0o700); err != nil {
			return err
		}
	}
	adopt := config.Host.OnHostExit == configs.HostExitAdopt
	cgroups, err := process.OpenAndClearCgroups(h.options.RunDir, adopt)
	if err != nil {
		h.log.Info().Err(err).Msg("plugins run without cgroups of their own")
	}
	if cgroups != nil && cgroups.UnendedError() != nil {
		h.log.Error().Err(cgroups.UnendedError()).Msg("processes of an earlier host are left, their instances can't start beside them")
	}
	if adopt && (cgroups == nil || os.Geteuid() != 0) {
		h.log.Warn().Msg("on-host-exit = \"adopt\" needs root and cgroups: plugins end with this host")
		adopt = false
	}
	for _, p := range config.Plugins {
		if err := cgroups.CheckLimits(p.Limits); err != nil {
			h.log.Warn().Err(err).Str("callsign", p.Callsign).Msg("this instance can't start with its limits")
		}
	}
	if h.Engine == nil {
		h.Engine = criu.Open(config.Hibernate.Criu, programs)
		h.Engine.TryUnknown = config.Hibernate.Unknown == configs.UnknownTry
	}
	h.Processes = process.Host{
		RunDir: h.options.RunDir, StateDir: config.Host.Root, DataDir: config.Host.Data, Pidone: pidone, ProgramsDir: programs, Adopt: adopt,
		Cgroups: cgroups, Engine: h.Engine, Images: h.Processes.Images, Log: h.log, Remains: &process.Remains{}, Room: h.room,
		Serve: func(callsign string, l net.Listener) func() { return h.Communicator.ServeInstance(callsign, l) },
	}
	if os.Geteuid() == 0 && !h.options.private { // an ordinary user may run whatever that user can
		h.Processes.CheckProgram = tamper.GuardFor(config.Host.Root).CheckProgram
		h.Engine.CheckProgram = h.Processes.CheckProgram
	}
	if h.store != nil {
		h.Processes.Programs = store.BucketOf[process.CachedProgram](h.store, "programs")
	}
	return nil
}

// endAndRemoveLeftovers ends processes and removes old images of instances that no longer
// exist, except those that are missing, and ends the processes of those that may not run. It
// logs errors.
func (h *Host) endAndRemoveLeftovers() {
	mayRun := func(callsign string) bool {
		sh, exists := h.Supervisor.Shell(callsign)
		return exists && sh.Unstartable() == nil || h.Supervisor.IsMissing(callsign)
	}
	if err := h.Processes.KillRemovedInstances(mayRun); err != nil {
		h.log.Warn().Err(err).Msg("could not end all that an earlier host left of instances that are no more")
	}
	h.removeOldUnusableImages()
}
