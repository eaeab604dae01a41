package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/plugins/controller/lenient"
	"dormouse/plugins/host"
)

const (
	// requestGrace is how long the end of the host waits for running requests.
	requestGrace = 2 * time.Second
	// connectionGrace is how long the end of the host waits for the first request of each
	// connection.
	connectionGrace = 200 * time.Millisecond
	// hibernationCheckTimeout limits the trial dump and restore at the start.
	hibernationCheckTimeout = 30 * time.Second
)

// hostServer runs a host: it serves clients on sockets, and obeys signals.
type hostServer struct {
	log              zerolog.Logger
	host             *host.Host
	opened           atomic.Pointer[host.Host] // host, for goroutines that run before it is open
	listeners        []frontListener
	servers          []*http.Server
	serving          sync.WaitGroup // of servers that accept connections
	load             func() (configs.Config, error)
	config           configs.Config // as it was loaded at the start
	reloading        sync.Mutex
	hibernates       atomic.Bool // plugins can be hibernated in some way, as was tried at the start
	program          string      // its path, also of the successor
	successorSignals <-chan os.Signal
	hasSuccessor     atomic.Bool // another host follows, which adopts plugins and sockets
	reexecs          atomic.Bool // the successor is executed in this process
}

// run adopts and starts the plugins, serves until ctx ends, serving fails or a successor is
// to follow, and then stops the plugins or leaves them to the successor. In the latter cases
// run calls cancel, which ends ctx.
func (h *hostServer) run(ctx context.Context, cancel context.CancelFunc, t *terminal, s *sockets, hangups <-chan os.Signal) error {
	h.host.Supervisor.Adopt(ctx)
	if err := h.host.Engine.KillAndRemoveLeftovers(); err != nil {
		h.log.Warn().Err(err).Msg("could not remove what an earlier host left")
	}
	var all sync.WaitGroup
	h.listeners = append(s.front, frontListener{Listener: s.control, configured: configs.Listener{Protocol: configs.ProtocolJSONRPC, Dialect: h.config.Host.Dialect}})
	failures := make([]error, len(h.listeners)+1)
	for i, serve := range h.serversOf(h.listeners) { // all are made before the first serves
		h.serving.Go(func() {
			if err := serve(); ctx.Err() == nil {
				failures[i] = fmt.Errorf("cannot serve any longer: %w", err)
				cancel()
			}
		})
	}
	all.Go(func() {
		if err := h.host.Communicator.ServeNative(s.native); err != nil {
			failures[len(h.listeners)] = err
			cancel()
		}
	})
	address := s.front[0].Addr().String()
	h.log.Info().Str("address", address).Stringer("control", s.control.Addr()).Stringer("communicator", s.native.Addr()).Int("pid", os.Getpid()).Str("version", version).Msg("listening")

	checked, started := make(chan sleepSupport, 1), make(chan struct{})
	all.Go(func() {
		can := h.checkAndNoteSleepSupport(ctx)
		checked <- can
		h.recheckSleepSupport(ctx, can)
	})
	fed, starve := context.WithCancel(context.WithoutCancel(ctx))
	all.Go(func() { feedSystemdWatchdog(fed, h) })
	all.Go(func() {
		defer close(started)
		h.host.StartPlugins(ctx)
	})
	all.Go(func() { h.reloadOnHangups(ctx, hangups, started) })
	all.Go(func() { h.noteSuccessorAndEndOnSignal(ctx, cancel) })
	select {
	case <-started:
		h.log.Info().Int("plugins", len(h.host.PluginShells())).Msg("ready")
		notifySystemd(daemon.SdNotifyReady + h.statusForSystemd())
	case <-ctx.Done():
	}
	select {
	case can := <-checked:
		if ctx.Err() == nil && wantsBanner(h.config.Host.LogFormat) {
			t.printf("%s", h.bannerText(address, s.addressToTry(), can))
		}
	case <-ctx.Done():
	}

	<-ctx.Done()
	h.stopOrLeavePlugins(context.WithoutCancel(ctx), started)
	starve()
	all.Wait()
	return errors.Join(failures...)
}

// serversOf makes a server for each listener, and returns the functions that serve until
// the server or the listener is closed.
func (h *hostServer) serversOf(listeners []frontListener) (serve []func() error) {
	for _, l := range listeners {
		if l.configured.Protocol == configs.ProtocolGRPC {
			server := h.host.Communicator.AddTCPServer(l.tlsConfigOrNil())
			serve = append(serve, func() error { return server.Serve(l) })
			continue
		}
		h.warnIfForNetwork(l)
		server := h.host.Front.NewServer(l.configured)
		h.servers = append(h.servers, server)
		serve = append(serve, func() error { return server.Serve(lenient.Listener{Listener: l.encrypted()}) })
	}
	return serve
}

// warnIfForNetwork logs that other machines reach the listener, if it is one for QHAna alone.
func (h *hostServer) warnIfForNetwork(l frontListener) {
	address := l.Addr().String()
	if ip, _, err := net.SplitHostPort(address); err == nil && l.configured.Only != "" && !configs.IsLoopback(ip) {
		h.log.Warn().Str("address", address).Str("role", string(h.config.QHAna.Role)).Strs("from", h.config.QHAna.From).
			Msg("other machines reach this listener, which serves only QHAna's resources: those in from have that role without a token")
	}
}

// checkAndNoteSleepSupport tries whether plugins can be hibernated here. Unless the host
// ends before, it logs the outcome and sets h.hibernates.
func (h *hostServer) checkAndNoteSleepSupport(ctx context.Context) sleepSupport {
	limited, cancel := context.WithTimeout(ctx, hibernationCheckTimeout)
	defer cancel()
	begun := time.Now()
	can := trySleepSupport(limited, h.host.Engine, h.host.Processes.Cgroups != nil)
	if ctx.Err() != nil {
		return can
	}
	h.hibernates.Store(can.canHibernate())
	switch {
	case can.Checkpoint.Works:
		h.log.Info().Str("engine", h.host.Engine.Name()).Bool("pageout", can.PageOut.Works).Int64("milliseconds", time.Since(begun).Milliseconds()).Msg("hibernation is available")
	case can.PageOut.Works:
		h.log.Warn().Err(can.Checkpoint.err).Msg("plugins can't be hibernated on disk, but be paged out")
	default:
		h.log.Warn().Err(can.Checkpoint.err).Msg("hibernation is not available, all else works")
	}
	return can
}

// recheckSleepSupport tries again whether plugins can be hibernated on disk, until they can or
// ctx ends: what has prevented it, such as a full disk, may pass.
func (h *hostServer) recheckSleepSupport(ctx context.Context, can sleepSupport) {
	if can.Checkpoint.Works || h.host.Engine.WhyNotFound() != nil {
		return
	}
	retryUntilDone(ctx, func() error {
		err := h.host.Engine.Check(ctx) // it tries only now and then
		if err == nil {
			h.hibernates.Store(true)
			h.log.Info().Str("engine", h.host.Engine.Name()).Msg("hibernation is available now")
		}
		return err
	})
}

// drainAndCloseFront ends the JSON-RPC front: it accepts no further connection, waits
// until the requests of connected clients are answered, and cuts off the clients that are
// left when ctx ends.
func (h *hostServer) drainAndCloseFront(ctx context.Context) {
	for _, e := range h.listeners {
		_ = e.Close()
	}
	h.serving.Wait() // now no further connection is accepted
	soon, cancel := context.WithTimeout(ctx, connectionGrace)
	h.host.Front.WaitFirstRequests(soon)
	cancel()
	for _, server := range h.servers {
		if err := server.Shutdown(ctx); err != nil {
			_ = server.Close()
		}
	}
	if err := h.host.Front.Close(ctx); err != nil {
		h.log.Info().Err(err).Msg("cut off the clients that were left")
	}
}

// stopOrLeavePlugins ends both fronts, so that no client begins an operation, and then
// the plugins; with a successor it leaves them running. It returns once started is closed
// too.
func (h *hostServer) stopOrLeavePlugins(ctx context.Context, started <-chan struct{}) {
	if h.reexecs.Load() {
		notifySystemd(systemdReloadingState())
	} else {
		notifySystemd(daemon.SdNotifyStopping)
	}
	h.log.Info().Msg("ending in order; a second signal kills what still runs")
	limited, cancel := context.WithTimeout(ctx, requestGrace)
	defer cancel()
	h.host.StopTellingRegistries()
	var bidding sync.WaitGroup
	bidding.Go(func() { h.drainAndCloseFront(limited) })
	if err := h.host.Communicator.StopServingNative(limited); err != nil {
		h.log.Info().Err(err).Msg("cut off the native clients that were left")
	}
	bidding.Wait()
	h.host.StopPackageOperations()
	if h.hasSuccessor.Load() {
		<-started
		h.host.Supervisor.Leave(ctx)
	} else {
		h.host.Supervisor.Stop(ctx) // bounded by the plugins' own limits
		<-started
	}
	h.host.Communicator.StopListeningAndWait()
	h.log.Info().Msg("ended")
}
