// Package host wires one host: the image store, the engine, cgroups, the supervisor
// with its built-ins, and both fronts. It does not know flags, listening sockets or a
// service manager.
package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/internal/http2room"
	"dormouse/internal/memory"
	"dormouse/internal/outbox"
	"dormouse/internal/outbox/targets"
	"dormouse/internal/ownedtree"
	"dormouse/internal/store"
	"dormouse/plugins/access"
	"dormouse/plugins/communicator"
	"dormouse/plugins/controller"
	"dormouse/plugins/flows"
	"dormouse/plugins/monitor"
	"dormouse/plugins/packager"
	"dormouse/plugins/peer"
	"dormouse/plugins/qhana"
	"dormouse/plugins/qhana/remote"
	"dormouse/plugins/state"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/follow"
	"dormouse/plugins/webhooks"
	"dormouse/shell"
	"dormouse/shell/process"
	"dormouse/supervisor"
)

// Names of a host's files and directories in its root.
const (
	programsName   = "bin" // pid 1 of the plugins, and CRIU's helpers
	postMortemName = "post-mortem"
)

// OutputsName is the name of the directory in the root that holds the files which tasks leave.
const OutputsName = "outputs"

// StoreName is the name of the host's store in its root: clones, overrides and other changes at
// run time.
const StoreName = "store.db"

// When the store is checked beside the work: when the host has started, and every day; and how
// often it is looked whether it is still in its place.
const (
	storeCheckAfter = 5 * time.Second
	storeCheckEvery = 24 * time.Hour
	storeLookEvery  = time.Minute
)

// Options configures Open.
type Options struct {
	Config configs.Config
	// RunDir holds the sockets and volatile files of the plugins. It must be private,
	// and its path short enough for sockets in it.
	RunDir  string
	Version string
	Log     zerolog.Logger

	// Engine replaces the engine that the configuration names; nil opens that one.
	Engine *criu.Engine
	// Group is the group whose members may be native clients.
	Group communicator.Group
	// CheckCallsign returns why this host has no place for an instance of that
	// callsign; nil accepts every callsign.
	CheckCallsign func(callsign string) error
	// Hibernates reports whether plugins can be hibernated here, and Reload reads the
	// configuration again. With nil the host tells clients that it supports neither.
	Hibernates func() bool
	Reload     func(context.Context) ([]string, error)
	// Listening are the addresses at which the host accepts clients, to which it sends no
	// webhooks.
	Listening []netip.AddrPort
	// DroppedLogLines returns how many lines the log has dropped; nil for a log that drops
	// none.
	DroppedLogLines func() int64
	// WrapBackend replaces the backend of a plugin; nil leaves it as it is.
	WrapBackend func(*process.Backend) shell.Backend

	private bool
}

// PrivateOptions returns the options of a host for a test or a trial, which keeps everything
// in dir. It has no JSON-RPC front, no packages and no flows, and puts no plugin to sleep by
// itself. The path of dir must be short.
func PrivateOptions(dir string, log zerolog.Logger, plugins ...configs.Plugin) Options {
	o := Options{RunDir: filepath.Join(dir, "run"), Log: log, private: true}
	o.Config.Plugins = plugins
	o.Config.Host.Root = dir
	o.Config.Hibernate.Dir = filepath.Join(dir, "images")
	o.Config.Hibernate.Timeout = configs.Duration(time.Minute)
	o.Config.Tasks = configs.DefaultTasks()
	return o
}

// Host is one host whose instances exist. The caller of Open starts the supervisor,
// serves the fronts, and stops both before CleanUpAndClose.
type Host struct {
	Supervisor   *supervisor.Supervisor
	Access       *access.Guard     // decides what each client may do
	Front        *controller.Front // nil in a private host
	Communicator *communicator.Communicator
	Engine       *criu.Engine
	Processes    process.Host       // the parts that all plugin processes share
	Packager     *packager.Packager // nil in a private host
	Flows        *flows.Flows       // nil in a private host
	State        *state.State
	Webhooks     *webhooks.Webhooks // nil in a private host
	Tasks        *tasks.Tasks

	options    Options
	log        zerolog.Logger
	memory     *peer.Memory    // of the fronts' messages; nil in a private host
	room       *http2room.Room // of long messages that arrive over gRPC; nil in a private host
	store      *store.Store
	outbox     *outbox.Outbox    // of the store; nil in a private host
	targets    *targets.Policy   // where requests to others may go; nil in a private host
	elsewhere  *remote.Client    // asks for plugins and tasks elsewhere; nil in a private host
	follows    *follow.Follows   // what tasks go along with; nil in a private host
	stopTokens func()            // ends to follow the token file; nil in a private host
	provision  *memory.Provision // kept ready for sleeps when memory is short; nil for nothing
	qhana      *qhana.QHAna      // nil in a private host
	telling    *telling          // to plugin registries; nil like qhana
}

// Open makes a host and removes what an earlier host left of instances that no longer exist.
// It starts no plugin. After an error nothing is open and the host's cgroup is removed.
func Open(o Options) (_ *Host, err error) {
	h := &Host{options: o, log: o.Log, Engine: o.Engine}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.closeStoresAndCgroup())
		}
	}()
	if err := h.claimOwnDirs(); err != nil {
		return nil, err
	}
	h.boundMemory()
	if err := h.openAccess(); err != nil {
		return nil, err
	}
	if err := h.openStores(); err != nil {
		return nil, err
	}
	if err := h.openProcessHost(); err != nil {
		return nil, err
	}
	if err := h.makeSupervisorAndFronts(); err != nil {
		return nil, err
	}
	h.endAndRemoveLeftovers()
	return h, nil
}

// openStores opens the store of images with its limits and packing, the store of changes at run
// time, and the state of the plugins. A private host gets a store of images without limits and
// packing.
func (h *Host) openStores() (err error) {
	config := h.options.Config
	if h.Processes.Images, err = hibernate.OpenStore(config.Hibernate.Dir); err != nil {
		return err
	}
	if h.store, err = h.openStore(); err != nil {
		return err
	}
	if err = h.openState(); err != nil || h.options.private {
		return err
	}
	h.Processes.Images.SetLimits(h.imageLimits(config.Hibernate))
	return readKeyAndSetPacking(h.Processes.Images, config.Hibernate)
}

// openStore opens the store of changes at run time, and logs what there is to tell about it.
func (h *Host) openStore() (*store.Store, error) {
	path := filepath.Join(h.options.Config.Host.Root, StoreName)
	return store.Open(path, store.Options{
		CheckAfter: storeCheckAfter, CheckEvery: storeCheckEvery, LookEvery: storeLookEvery,
		Told: func(message string) { h.log.Warn().Msg(message) },
	})
}

// makeSupervisorAndFronts makes the supervisor and the fronts, and connects them. A private
// host gets no JSON-RPC front.
func (h *Host) makeSupervisorAndFronts() (err error) {
	o, config := h.options, h.options.Config
	s := supervisor.Options{
		Plugins:          config.Plugins,
		LeftOut:          config.LeftOut,
		HibernateTimeout: time.Duration(config.Hibernate.Timeout),
		Log:              h.log,
		Classes:          h.builtinClasses(),
		Subsystems:       config.Host.Subsystems,
		Backend:          h.newProcessBackend,
		Probe:            h.Processes.ProbeProgram,
		AutoSleep:        h.autoSleep(config.Hibernate),
		Store:            h.store,
		CheckCallsign:    o.CheckCallsign,
		MaxClones:        config.Host.Clones,
		RemoveKept:       h.removeKept,
		KeptPaths:        h.keptPaths,
		Untold:           h.untoldLosses,
		MarkTold:         h.Processes.Images.MarkTold,
		PostMortem: supervisor.PostMortem{
			Dir: filepath.Join(config.Host.Root, postMortemName), Reasons: config.Host.ExitReasons, Keep: config.Host.PostMortems,
		},
	}
	if err := h.openWebhooks(); err != nil {
		return err
	}
	if err := h.openTasks(); err != nil {
		return err
	}
	s.Builtins = []supervisor.Builtin{h.Tasks.Builtin()}
	if !o.private {
		h.Front = controller.New(controller.Options{
			Host: config.Host, Log: h.log, Version: o.Version, Access: h.Access, Memory: h.memory,
			CanHibernate: o.Hibernates, DroppedLogLines: o.DroppedLogLines, StoreHealth: h.store.Health,
			BuiltinAccess: h.builtinAccess,
			RestartsOf:    func(callsign string) int { return h.Supervisor.RestartStatus(callsign).Count },
			Proxies:       h.nativeClientProxies,
			Reload:        o.Reload,
			Mount:         h.qhanaMount(),
			WriteMetrics: func(w controller.MetricsWriter) {
				h.Packager.WriteMetrics(w)
				h.Flows.WriteMetrics(w)
				h.Webhooks.WriteMetrics(w)
				h.State.WriteMetrics(w)
				h.Tasks.WriteMetrics(w)
			},
		})
		if err := errors.Join(h.openFlows(), h.openPackages()); err != nil {
			return err
		}
		s.Builtins = []supervisor.Builtin{
			h.Front.Builtin(), h.Packager.Builtin(), h.Flows.Builtin(), h.State.Builtin(), h.Webhooks.Builtin(), h.Tasks.Builtin(),
		}
		s.Provided, s.Refusal, s.Profile = h.providedByPackages(), h.Packager.Refusal, h.Packager.Profile
		s.BeforeStart = h.Packager.BeforeStart
	}
	if h.Supervisor, err = supervisor.New(s); err != nil {
		return err
	}
	if err := h.openQHAna(); err != nil {
		return err
	}
	h.Communicator = communicator.New(communicator.Options{
		Supervisor: h.Supervisor, Log: h.log, Version: o.Version, Paths: h.Processes.Paths, Reload: o.Reload,
		Access: h.Access, Memory: h.memory, Room: h.room, NeededRole: controller.NeededRole, TargetOf: controller.TargetOf, BuiltinAccess: h.builtinAccess, PackagerAccess: packager.NeededAccess,
		Flows: h.flowsService(), Services: h.services(),
	}, o.Group)
	return nil
}

// newProcessBackend returns a backend that runs the plugin of one instance as a process,
// replaced by Options.WrapBackend if that is set.
func (h *Host) newProcessBackend(config func() configs.Plugin, sink shell.Sink) shell.Backend {
	b := process.New(h.Processes, config, sink)
	if h.options.WrapBackend != nil {
		return h.options.WrapBackend(b)
	}
	return b
}

// builtinClass is a class of built-ins.
type builtinClass struct {
	backend supervisor.Class
	// access returns the role that a caller needs for a call of the instance with that
	// callsign, and what the call is about.
	access func(callsign string, c shell.Call) (access.Role, access.Target)
}

// builtins returns the classes of built-ins by their names, which are configs.Builtins.
func (h *Host) builtins() map[string]builtinClass {
	return map[string]builtinClass{
		monitor.Class: {h.newMonitorBackend, monitor.NeededAccess},
	}
}

// builtinClasses returns the classes of built-ins for the supervisor.
func (h *Host) builtinClasses() map[string]supervisor.Class {
	classes := make(map[string]supervisor.Class)
	for name, class := range h.builtins() {
		classes[name] = class.backend
	}
	return classes
}

// hostBuiltinAccess is builtinClass.access of the built-ins that are parts of every host, by
// their callsigns. The Controller decides by itself.
var hostBuiltinAccess = map[string]func(callsign string, c shell.Call) (access.Role, access.Target){
	packager.Callsign: packager.NeededAccess,
	flows.Callsign:    flows.NeededAccess,
	webhooks.Callsign: webhooks.NeededAccess,
	state.Callsign:    state.NeededAccess,
	tasks.Callsign:    tasks.NeededAccess,
}

// builtinAccess returns the role that a caller needs for a call of a built-in, and what the
// call is about. No role suffices for a class that does not say.
func (h *Host) builtinAccess(sh *shell.Shell, c shell.Call) (access.Role, access.Target) {
	if needed, ok := hostBuiltinAccess[sh.Callsign()]; ok {
		return needed(sh.Callsign(), c)
	}
	class, ok := h.builtins()[sh.Config().Builtin]
	if !ok || class.access == nil {
		return access.None, access.Target{Callsign: sh.Callsign(), Method: c.Method}
	}
	return class.access(sh.Callsign(), c)
}

// newMonitorBackend returns the backend of an instance of the class Monitor.
func (h *Host) newMonitorBackend(s *supervisor.Supervisor, config func() configs.Plugin, sink shell.Sink) shell.Backend {
	return monitor.New(s, config, sink, h.log)
}

// nativeClientProxies returns the proxies that native clients hold, as the JSON-RPC front
// lists them.
func (h *Host) nativeClientProxies() []controller.Proxy {
	const link = "communicator"
	var all []controller.Proxy
	for _, p := range h.Communicator.Proxies() {
		all = append(all, controller.Proxy{
			Interface: p.Interface, Name: p.Name, Instance: "0x0", Count: p.Count,
			Client: p.Client + "@" + link, Link: link,
		})
	}
	return all
}

// PluginShells returns the shells of the instances that have a plugin of their own.
func (h *Host) PluginShells() []*shell.Shell {
	return slices.DeleteFunc(h.Supervisor.Shells(), func(sh *shell.Shell) bool { return sh.IsBuiltIn() || sh.IsVirtual() })
}

// StopPluginsAndCommunicator ends the communicator and the plugins. The error says that
// native clients were cut off because ctx ended.
func (h *Host) StopPluginsAndCommunicator(ctx context.Context) error {
	err := h.Communicator.StopServingNative(ctx)
	h.Supervisor.Stop(ctx)
	h.Communicator.StopListeningAndWait()
	return err
}

// CleanUpAndClose removes the run directories of instances, closes the stores, and
// removes the host's cgroup. Hibernated instances keep their run directories. If
// hasSuccessor is true, the next host adopts the plugins: active instances keep their run
// directories too, and errors of the stores and the cgroup, in which plugins still run,
// are not returned.
func (h *Host) CleanUpAndClose(hasSuccessor bool) error {
	var errs []error
	for _, s := range h.PluginShells() {
		if st := s.State(); st == shell.Hibernated || st == shell.Activated && hasSuccessor {
			continue
		}
		if h.Processes.Remains.IsLeft(s.Callsign()) {
			continue // the next host needs the journal
		}
		if err := ownedtree.RemoveMarked(filepath.Join(h.options.RunDir, s.Callsign())); err != nil {
			errs = append(errs, fmt.Errorf("cannot clear the run directory: %w", err))
		}
	}
	if err := h.closeStoresAndCgroup(); err != nil && !hasSuccessor { // a cgroup with plugins in it can't be removed
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// closeStoresAndCgroup stops following the tokens, closes the stores and removes the host's
// cgroup, as far as they are open.
func (h *Host) closeStoresAndCgroup() error {
	if h.stopTokens != nil {
		h.stopTokens()
	}
	h.Packager.Close()
	var errs []error
	if h.Processes.Cgroups != nil {
		if err := h.Processes.Cgroups.Close(); err != nil {
			errs = append(errs, fmt.Errorf("cannot remove the host's cgroup: %w", err))
		}
	}
	errs = append(errs, h.store.Close())
	if h.Processes.Images != nil {
		h.Processes.Images.Close()
	}
	if h.elsewhere != nil {
		h.elsewhere.Close()
	}
	h.provision.Close()
	return errors.Join(errs...)
}
