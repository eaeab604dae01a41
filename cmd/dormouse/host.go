package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/internal/native"
	"dormouse/plugins/communicator"
	"dormouse/plugins/controller"
	"dormouse/shell"
	"dormouse/shell/process"
	"dormouse/supervisor"
)

// host is what serves once everything is open.
type host struct {
	log          zerolog.Logger
	engine       *criu.Engine
	front        *controller.Front
	server       *http.Server
	communicator *communicator.Communicator
	supervisor   *supervisor.Supervisor
	hibernates   atomic.Bool // the engine was tried, and works
}

// serve runs a host until ctx ends. What it opens it closes in the reverse
// order, so that nothing is taken away from what still runs.
func serve(ctx context.Context, t *terminal, config configs.Config, log zerolog.Logger) error {
	syscall.Umask(0o077)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // nobody reading the log is no reason to end
	places, err := claim(config)
	if err != nil {
		return err
	}
	defer places.release()
	group, err := communicator.LookupGroup(config.Host.CommunicatorGroup)
	if err != nil {
		return err
	}
	path, err := places.native(config.Host.Communicator)
	if err != nil {
		return err
	}
	sockets, err := listen(config.Host.Listen, path, group)
	if err != nil {
		return err
	}
	defer sockets.close()
	programs := filepath.Join(config.Host.Root, "bin")
	pidone, err := native.InstallPidone(programs)
	if err != nil {
		return err
	}
	images, err := hibernate.OpenStore(config.Hibernate.Dir)
	if err != nil {
		return err
	}
	defer images.Close()
	cgroups, err := process.OpenCgroups(places.run)
	if err != nil {
		log.Info().Err(err).Msg("plugins run without cgroups of their own")
	} else {
		defer closeCgroups(cgroups, log)
	}

	h := &host{log: log, engine: criu.Open(config.Hibernate.Criu, programs)}
	h.front = controller.New(controller.Options{Host: config.Host, Log: log, Version: version, Hibernates: h.hibernates.Load})
	h.server = h.front.Server(config.Host.Dialect)
	backends := process.Host{
		RunDir: places.run, StateDir: config.Host.Root, Pidone: pidone,
		Cgroups: cgroups, Engine: h.engine, Images: images, Log: log,
		Serve: func(callsign string, l net.Listener) func() { return h.communicator.ServeInstance(callsign, l) },
	}
	h.supervisor, err = supervisor.New(supervisor.Options{
		Plugins:          config.Plugins,
		HibernateTimeout: time.Duration(config.Hibernate.Timeout),
		Log:              log,
		Builtins:         []supervisor.Builtin{h.front.Builtin()},
		Subsystems:       config.Host.Subsystems,
		Backend: func(c configs.Plugin, sink shell.Sink) shell.Backend {
			return process.New(backends, c, sink)
		},
	})
	if err != nil {
		return err
	}
	h.communicator = communicator.New(communicator.Options{
		Supervisor: h.supervisor, Log: log, Version: version, Paths: backends.Paths,
	}, group)
	defer h.clear(places.run)
	if err := places.publish(config.Host.Root, sockets.front[0].Addr().String()); err != nil {
		return err
	}
	return h.run(ctx, t, sockets, config.Host.LogFormat)
}

// plugins are the instances besides the host itself.
func (h *host) plugins() []*shell.Shell {
	var plugins []*shell.Shell
	for _, s := range h.supervisor.Shells() {
		if !s.InProcess() {
			plugins = append(plugins, s)
		}
	}
	return plugins
}

// clear removes what instances left in the run directory. A hibernated one
// keeps its part: its image refers to the files there.
func (h *host) clear(run string) {
	for _, s := range h.plugins() {
		if s.State() == shell.Hibernated {
			continue
		}
		if err := os.RemoveAll(filepath.Join(run, s.Callsign())); err != nil {
			h.log.Warn().Err(err).Msg("could not clear the run directory")
		}
	}
}

func closeCgroups(c *process.Cgroups, log zerolog.Logger) {
	if err := c.Close(); err != nil {
		log.Warn().Err(err).Msg("could not remove the host's cgroup")
	}
}
