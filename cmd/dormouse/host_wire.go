package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/internal/native"
	"dormouse/internal/store"
	"dormouse/plugins/communicator"
	"dormouse/plugins/controller"
	"dormouse/plugins/monitor"
	"dormouse/shell"
	"dormouse/shell/process"
	"dormouse/supervisor"
)

// host is what serves once everything is open.
type host struct {
	log              zerolog.Logger
	engine           *criu.Engine
	front            *controller.Front
	listeners        []frontListener
	servers          []*http.Server
	serving          sync.WaitGroup // of servers that accept connections
	communicator     *communicator.Communicator
	supervisor       *supervisor.Supervisor
	reloads          *reloader
	hibernates       atomic.Bool // the engine was tried, and works, or plugins can be paged out
	freezes          bool        // plugins have cgroups of their own
	successorSignals <-chan os.Signal
	hasSuccessor     atomic.Bool // another host follows, to which plugins and sockets are left
	reexecs          atomic.Bool // it is to be executed in this process
}

// What the host keeps in the root.
const (
	programsName   = "bin"         // helpers of the processes' and of CRIU's
	storeName      = "store.db"    // what changes at run time
	postMortemName = "post-mortem" // tells of plugins' ends
)

// serve runs a host until ctx ends. What it opens it closes in the reverse
// order, so that nothing is taken away from what still runs. Load is how config
// was read.
func serve(ctx context.Context, t *terminal, load func() (configs.Config, error), config configs.Config, log zerolog.Logger) error {
	syscall.Umask(0o077)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // nobody reading the log is no reason to end
	hangups, relief := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	signal.Notify(relief, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(relief)
	places, err := claimDirs(config)
	if err != nil {
		return err
	}
	defer places.release()
	group, err := communicator.LookupGroup(config.Host.CommunicatorGroup)
	if err != nil {
		return err
	}
	path, err := places.communicatorPath(config.Host.Communicator)
	if err != nil {
		return err
	}
	h := &host{log: log, successorSignals: relief, reloads: &reloader{log: log, load: load, started: config}}
	sockets, err := openSockets(config, path, group, log)
	if err != nil {
		return err
	}
	defer func() { sockets.close(h.hasSuccessor.Load()) }()
	images, err := hibernate.OpenStore(config.Hibernate.Dir)
	if err != nil {
		return err
	}
	defer images.Close()
	kept, err := store.Open(filepath.Join(config.Host.Root, storeName))
	if err != nil {
		return err
	}
	defer kept.Close()
	images.SetLimits(h.imageLimits(config.Hibernate, images))
	if err := setPacking(images, config.Hibernate); err != nil {
		return err
	}
	backends, err := h.makeProcessHost(config, places, images, kept)
	if err != nil {
		return err
	}
	if backends.Cgroups != nil {
		defer h.closeCgroups(backends.Cgroups)
	}
	if err := h.assemble(config, places, backends, kept, group); err != nil { //nolint:contextcheck // what is made here gets its contexts later
		return err
	}
	defer h.clearRunDir(places.run)
	h.sweepImages(images)
	if err := places.writeAddress(config.Host.Root, sockets.front[0].Addr().String()); err != nil {
		return err
	}
	if err = h.run(ctx, t, sockets, hangups, config.Host.LogFormat); err == nil && h.reexecs.Load() {
		err = &reexecError{sockets.releaseKept()}
	}
	return err
}

// processes is what all plugin processes share.
func (h *host) makeProcessHost(config configs.Config, places *hostDirs, images *hibernate.Store, kept *store.Store) (process.Host, error) {
	programs := filepath.Join(config.Host.Root, programsName)
	pidone, err := native.InstallPidone(programs)
	if err != nil {
		return process.Host{}, err
	}
	adopt := config.Host.OnHostExit == configs.HostExitAdopt
	open := process.OpenCgroups
	if adopt {
		open = process.InheritCgroups
	}
	cgroups, err := open(places.run)
	if err != nil {
		h.log.Info().Err(err).Msg("plugins run without cgroups of their own")
	}
	h.freezes = cgroups != nil
	if adopt && (cgroups == nil || os.Geteuid() != 0) {
		h.log.Warn().Msg("on-host-exit = \"adopt\" needs root and cgroups: plugins end with this host")
		adopt = false
	}
	for _, p := range config.Plugins {
		if err := cgroups.CanEnforce(p.Limits); err != nil {
			h.log.Warn().Err(err).Str("callsign", p.Callsign).Msg("this instance can't start with its limits")
		}
	}
	h.engine = criu.Open(config.Hibernate.Criu, programs)
	return process.Host{
		RunDir: places.run, StateDir: config.Host.Root, DataDir: config.Host.Data, Pidone: pidone, Adopt: adopt,
		Cgroups: cgroups, Engine: h.engine, Images: images, Log: h.log,
		Memory: store.In[process.Remembered](kept, "programs"),
		Serve:  func(callsign string, l net.Listener) func() { return h.communicator.ServeInstance(callsign, l) },
	}, nil
}

// assemble makes the parts of the host and shows them to each other.
func (h *host) assemble(config configs.Config, places *hostDirs, backends process.Host, kept *store.Store, group communicator.Group) error {
	h.front = controller.New(controller.Options{
		Host: config.Host, Log: h.log, Version: version,
		Hibernates: h.hibernates.Load,
		Restarts:   func(callsign string) int { return h.supervisor.RestartStatus(callsign).Count },
		Proxies:    h.proxies,
		Reload:     h.reloads.reload,
	})
	var err error
	h.supervisor, err = supervisor.New(supervisor.Options{
		Plugins:          config.Plugins,
		HibernateTimeout: time.Duration(config.Hibernate.Timeout),
		Log:              h.log,
		Builtins:         []supervisor.Builtin{h.front.Builtin()},
		Classes: map[string]supervisor.Class{
			monitor.Class: func(s *supervisor.Supervisor, c func() configs.Plugin, sink shell.Sink) shell.Backend {
				return monitor.New(s, c, sink, h.log)
			},
		},
		Subsystems: config.Host.Subsystems,
		Backend: func(c func() configs.Plugin, sink shell.Sink) shell.Backend {
			return process.New(backends, c, sink)
		},
		AutoSleep:     supervisor.AutoSleep{Rules: config.Hibernate.Tiers},
		Store:         kept,
		CheckCallsign: places.checkCallsign,
		RemoveKept:    backends.Forget,
		PostMortem: supervisor.PostMortem{
			Dir: filepath.Join(config.Host.Root, postMortemName), Reasons: config.Host.ExitReasons, Keep: config.Host.PostMortems,
		},
	})
	if err != nil {
		return err
	}
	h.communicator = communicator.New(communicator.Options{
		Supervisor: h.supervisor, Log: h.log, Version: version, Paths: backends.Paths, Reload: h.reloads.reload,
	}, group)
	h.reloads.supervisor = h.supervisor
	var callsigns []string
	for _, s := range h.supervisor.Shells() {
		callsigns = append(callsigns, s.Callsign())
	}
	if err := backends.Sweep(callsigns); err != nil {
		h.log.Warn().Err(err).Msg("could not end all that an earlier host left of instances that are no more")
	}
	return nil
}

// proxies is what native clients hold, as the front shows it.
func (h *host) proxies() []controller.Proxy {
	var all []controller.Proxy
	for _, p := range h.communicator.Proxies() {
		all = append(all, controller.Proxy{
			Interface: p.Interface, Name: p.Name, Instance: "0x0", Count: p.Count,
			Origin: p.Origin + "@" + nativeName, Link: nativeName,
		})
	}
	return all
}

// plugins are the instances besides the host itself.
func (h *host) plugins() []*shell.Shell {
	var plugins []*shell.Shell
	for _, s := range h.supervisor.Shells() {
		if !s.IsBuiltIn() {
			plugins = append(plugins, s)
		}
	}
	return plugins
}

// roots are the processes below which the plugins run.
func (h *host) pluginRoots() (pids []int) {
	for _, s := range h.plugins() {
		if root := s.Status().Facts.Root; root != 0 {
			pids = append(pids, root)
		}
	}
	return pids
}

// clear removes what instances left in the run directory. A hibernated one keeps
// its part, as its image refers to the files there, and so does one that runs on.
func (h *host) clearRunDir(run string) {
	for _, s := range h.plugins() {
		if st := s.State(); st == shell.Hibernated || st == shell.Activated && h.hasSuccessor.Load() {
			continue // the next host needs it
		}
		if err := os.RemoveAll(filepath.Join(run, s.Callsign())); err != nil {
			h.log.Warn().Err(err).Msg("could not clear the run directory")
		}
	}
}

func (h *host) closeCgroups(c *process.Cgroups) {
	if err := c.Close(); err != nil && !h.hasSuccessor.Load() {
		h.log.Warn().Err(err).Msg("could not remove the host's cgroup")
	}
}
