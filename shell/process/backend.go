// Package process is the shell.Backend of a plugin that is a program: it starts
// it behind pid 1 of a PID namespace, speaks gRPC with it through go-plugin,
// ends its whole tree, and puts the tree to disk and back. It does not know the
// lifecycle; what may be asked when is its shell's business.
package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/failpoint"
	"dormouse/internal/fileid"
	"dormouse/internal/procfs"
	"dormouse/shell"
	"dormouse/shell/process/output"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// Host is what all plugin processes of a host share.
type Host struct {
	// RunDir holds the sockets and volatile files of running and hibernated
	// plugins; it must be private. StateDir holds what plugins keep.
	RunDir   string
	StateDir string
	// DataDir holds the read-only files of plugins that don't name their own, in
	// directories of their programs' names.
	DataDir string
	// Pidone is the path of the plugins' pid 1.
	Pidone string
	// Cgroups is where the plugins' cgroups are made, nil where there can't be
	// any.
	Cgroups *Cgroups
	// Adopt lets plugins run on when the host ends without stopping them, and takes
	// those over that an earlier host left. It needs Cgroups.
	Adopt  bool
	Engine hibernate.Engine
	Images *hibernate.Store
	// Memory is where what programs say of themselves is kept; with nil each
	// backend knows it as long as it exists.
	Memory Memory
	// Serve serves the host to an instance's plugin, which alone can connect to l.
	// The function that it returns closes l and every connection of it, and does
	// not wait for running calls. When nil, plugins have no host socket.
	Serve func(callsign string, l net.Listener) (stop func())
	Log   zerolog.Logger
}

// Backend is one plugin program under one callsign.
type Backend struct {
	host     Host
	callsign string
	config   func() configs.Plugin // as the instance is configured now
	place    string                // the name of the run directory and the cgroup
	tail     output.Tail
	log      zerolog.Logger
	sink     shell.Sink
	imageDir *hibernate.ImageDir

	// The stubs outlive every process: the router stands behind them.
	router     *router
	plugin     shellpb.PluginClient
	dispatcher shellpb.DispatcherClient
	hooks      shellpb.HooksClient

	seen atomic.Uint64 // sequence of the last event of the present process

	// asking keeps what the watch of the state control reports and what is
	// requested of it apart, so that an old report is not taken for news.
	asking sync.Mutex

	mu     sync.Mutex
	tree   *tree            // nil when no process runs
	link   *link            // nil when the host is not connected to it
	image  *hibernate.Image // nil when there is none
	info   *shellpb.InformationResponse
	socket string

	// given is the configuration that the present plugin was started with; config may
	// have another table for the next one already. Only operations use it.
	given configs.Plugin

	reason shell.Reason // why it is active
	left   *instance    // what an earlier host left, until that is adopted or ended

	hostSocket *hostSocket // nil while the host is not served to the plugin

	golden golden
}

var _ shell.Process = (*Backend)(nil)

// New returns the backend of an instance, which has an image if an earlier host
// left it hibernated. An image that can't be trusted is put aside.
func New(h Host, config func() configs.Plugin, sink shell.Sink) *Backend {
	b := at(config().Callsign, h, config, sink)
	b.imageDir = h.Images.ImageDir(b.callsign)
	if err := os.RemoveAll(b.runDir() + probeSuffix); err != nil { // an earlier host may have been killed in a probe
		b.log.Warn().Err(err).Msg("could not clear the run directory")
	}
	if err := b.takeStock(); err != nil {
		b.log.Error().Err(err).Msg("what an earlier host left is not all in order")
	}
	b.RemoveStaleGolden()
	return b
}

// at returns a backend that can't hibernate, with the name of its run directory
// and its cgroup.
func at(place string, h Host, config func() configs.Plugin, sink shell.Sink) *Backend {
	if h.Memory == nil {
		h.Memory = make(ownMemory)
	}
	r, now := &router{}, config()
	return &Backend{
		host:       h,
		callsign:   now.Callsign,
		config:     config,
		given:      now,
		place:      place,
		log:        h.Log.With().Str("callsign", now.Callsign).Logger(),
		sink:       sink,
		router:     r,
		plugin:     shellpb.NewPluginClient(r),
		dispatcher: shellpb.NewDispatcherClient(r),
		hooks:      shellpb.NewHooksClient(r),
	}
}

// Conn is the connection to the plugin, see shell.Process.
func (b *Backend) Conn() grpc.ClientConnInterface { return b.router }

// Launch starts the program, see shell.Backend.
func (b *Backend) Launch(ctx context.Context) (shell.Information, error) {
	b.given = b.config()
	program, err := executable(b.given.Executable)
	if err != nil {
		return shell.Information{}, fmt.Errorf("%w: %w", shell.ErrInstantiation, err)
	}
	b.noteProgram(program)
	started := fileid.OfSettled(program)
	t, socket, err := b.start(ctx, program)
	if err == nil {
		b.mu.Lock()
		b.socket = socket
		b.mu.Unlock()
		b.seen.Store(0)
		err = b.connect(ctx, t, socket)
	}
	if err == nil {
		err = b.explain(b.inform(ctx))
	}
	if err != nil {
		return shell.Information{}, fmt.Errorf("%w: %w", shell.ErrInstantiation, err)
	}
	failpoint.Hit("launch.informed")
	b.remember(program, started)
	return b.information(), nil
}

// Initialize hands the plugin its configuration, see shell.Backend.
func (b *Backend) Initialize(ctx context.Context) error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if err := b.openHostSocket(t); err != nil {
		return fmt.Errorf("%w: %w", shell.ErrInitialization, err)
	}
	failpoint.Hit("initialize.begun")
	answer, err := b.plugin.Initialize(ctx, &shellpb.InitializeRequest{
		Callsign:      b.callsign,
		Configuration: b.given.ConfigurationJSON(),
		Paths:         b.host.Paths(b.given),
		HostSocket:    b.hostSocketPath(),
	})
	if err != nil {
		return fmt.Errorf("%w: %w", shell.ErrInitialization, b.explain(fromStatus(err)))
	}
	if text := answer.GetError(); text != "" {
		return fmt.Errorf("%w: %s", shell.ErrInitialization, text)
	}
	failpoint.Hit("initialize.done")
	if !b.given.WarmStart {
		b.follow() // else MakeGolden or SkipGolden does: what was not told yet is told in every life
	}
	return nil
}

// Deinitialize tells the plugin that its work is over, see shell.Backend.
func (b *Backend) Deinitialize(ctx context.Context, why shell.Reason) error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if t != nil {
		if err := b.enter(t, ending); err != nil {
			b.log.Warn().Err(err).Msg("the next host would take this plugin for an active one")
		}
	}
	failpoint.Hit("deactivate.begun")
	_, err := b.plugin.Deinitialize(ctx, &shellpb.DeinitializeRequest{Reason: why.Proto()})
	if err != nil {
		return fmt.Errorf("cannot deinitialize: %w", b.explain(fromStatus(err)))
	}
	return nil
}

// Stop ends the tree: by request, by SIGTERM, by force, each in its time. See
// shell.Backend.
func (b *Backend) Stop(ctx context.Context) error {
	b.mu.Lock()
	t, l, image := b.tree, b.link, b.image
	b.tree, b.link = nil, nil
	asleep := image != nil && image.InPlace
	if asleep {
		b.image = nil
	}
	b.mu.Unlock()
	if t == nil && image != nil {
		return nil // it sleeps, and needs its directory when it wakes
	}
	if t == nil {
		_ = b.closeHostSocket(ctx, 0) // nobody is left to hold it
		return os.RemoveAll(b.runDir())
	}
	failpoint.Hit("stop.begun")
	t.expectEnd()
	if asleep {
		_ = b.rouse(t) // or it could not end by request
	}
	grace := time.Duration(b.config().StopTimeout) / 2
	if l != nil {
		if l.shutdown(ctx, grace) == nil {
			t.wait(grace)
		}
	}
	b.router.set(nil)
	if l != nil {
		l.detach()
		failpoint.Hit("stop.asked")
		t.terminate(grace)
	}
	err := t.end()
	failpoint.Hit("stop.ended")
	_ = b.closeHostSocket(ctx, partingLimit) // the plugin's ends went with it
	return errors.Join(err, os.RemoveAll(b.runDir()))
}

// Invoke runs one method, see shell.Backend.
func (b *Backend) Invoke(ctx context.Context, c shell.Call) (json.RawMessage, error) {
	answer, err := b.dispatcher.Invoke(ctx, &shellpb.InvokeRequest{Method: c.Method, Index: c.Index, Params: c.Params})
	if err != nil {
		return nil, fromStatus(err)
	}
	return answer.GetResult(), nil
}

// Exists asks for a method, see shell.Backend.
func (b *Backend) Exists(ctx context.Context, method string) (bool, error) {
	answer, err := b.dispatcher.Exists(ctx, &shellpb.ExistsRequest{Method: method})
	if err != nil {
		return false, fromStatus(err)
	}
	return answer.GetExists(), nil
}

// Facts looks at the running tree, see shell.Backend.
func (b *Backend) Facts() shell.Facts {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if t == nil || t.ended() {
		return shell.Facts{}
	}
	return shell.Facts{
		PID: t.program(), Root: t.root.Pid,
		Memory: procfs.PSS(t.pids()), Charged: t.cgroup().MemoryBytes(), Loading: t.progress(),
	}
}

// inform asks the plugin what it is.
func (b *Backend) inform(ctx context.Context) error {
	info, err := b.plugin.Information(ctx, &shellpb.InformationRequest{})
	if err != nil {
		return fmt.Errorf("cannot ask the plugin for its information: %w", fromStatus(err))
	}
	b.mu.Lock()
	b.info = info
	b.mu.Unlock()
	return nil
}

// information is what the plugin said of itself at its launch.
func (b *Backend) information() shell.Information {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.info.GetVersion()
	info := shell.Information{
		Class:       b.info.GetName(),
		Description: b.info.GetDescription(),
		Version:     shell.Version{Major: v.GetMajor(), Minor: v.GetMinor(), Patch: v.GetPatch()},
		Services:    b.info.GetServices(),

		Preconditions: b.info.GetPreconditions(),
		Terminations:  b.info.GetTerminations(),
		Controls:      b.info.GetControls(),
	}
	if b.serves(statecontrol.ServiceName) {
		info.StateControl = control{statecontrol.NewClient(b.router), &b.asking}
	}
	return info
}

// serves tells whether the plugin listed the service. The caller holds mu.
func (b *Backend) serves(service string) bool {
	return slices.Contains(b.info.GetServices(), service)
}

// explain returns how the process ended, if that is why nobody answered.
func (b *Backend) explain(err error) error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if t == nil || !errors.Is(err, shell.ErrUnavailable) || !t.endedSoon() {
		return err
	}
	return t.exitError()
}
