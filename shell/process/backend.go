// Package process is the backend of a plugin that is a program. It starts the program
// behind pid 1 of a PID namespace, speaks gRPC with the plugin through go-plugin, kills
// the plugin's whole tree, and hibernates and wakes the tree. It does not know the
// lifecycle: the shell decides what is asked when.
package process

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
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
	"dormouse/internal/http2room"
	"dormouse/internal/ownedtree"
	"dormouse/internal/procfs"
	"dormouse/shell"
	"dormouse/shell/process/output"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// Host holds what the backends of one host share.
type Host struct {
	// RunDir holds the sockets and volatile files of running and hibernated plugins; it
	// must be private. StateDir holds the plugins' persistent files.
	RunDir   string
	StateDir string
	// DataDir holds one directory of read-only files for each program, with the program's
	// name, unless the plugin's configuration names another directory.
	DataDir string
	// Pidone is the path of the program that is pid 1 of each plugin's PID namespace.
	// If it is empty, each start installs the program in ProgramsDir first.
	Pidone      string
	ProgramsDir string
	// Cgroups makes the plugins' cgroups, nil where the host can't have any.
	Cgroups *Cgroups
	// Adopt lets plugins outlive the host, and has the host adopt the plugins of an
	// earlier one. It needs Cgroups.
	Adopt  bool
	Engine hibernate.Engine
	Images *hibernate.Store
	// Remains are the trees that don't end although they were killed. With nil each
	// backend has its own.
	Remains *Remains
	// Programs caches what programs say of themselves, across hosts. With nil each
	// backend has a cache of its own.
	Programs ProgramCache
	// CheckProgram returns an error if the program at the path must not be run, since other
	// users could change it. Nil accepts every program.
	CheckProgram func(path string) error
	// Room is the memory of plugins' long messages while they arrive; nil stands for no
	// bounds.
	Room *http2room.Room
	// Serve serves the host to an instance's plugin on l, which accepts connections
	// from that plugin only. The function that Serve returns closes l and its
	// connections and does not wait for calls. When nil, plugins have no host socket.
	Serve func(callsign string, l net.Listener) (stop func())
	Log   zerolog.Logger
}

// Backend runs one plugin program under one callsign.
type Backend struct {
	host     Host
	callsign string
	config   func() configs.Plugin // as the instance is configured now
	dirName  string                // name of the run directory and of the cgroup
	tail     output.Tail
	limiter  *output.Limiter // of what is logged of the output
	log      zerolog.Logger
	sink     shell.Sink
	imageDir *hibernate.ImageDir

	// The clients outlive every process: they call through the router.
	router     *router
	plugin     shellpb.PluginClient
	dispatcher shellpb.DispatcherClient
	hooks      shellpb.HooksClient

	lastEvent atomic.Uint64 // sequence number of the last event of the present process

	// controlOrder is held while the state control is requested or asked, so that an
	// old report is not taken for a new state.
	controlOrder sync.Mutex

	// Only operations use these, and a shell runs one operation at a time.
	startConfig configs.Plugin // with which the present plugin was started; the next one starts with config()
	startedWith string         // the checksumOfStartConfig of the present plugin, also if an earlier host started it
	inherited   *journal       // of an earlier host, until its tree is adopted or killed
	reason      shell.Reason   // why the plugin is active

	mu             sync.Mutex
	life           life
	inheritedImage *hibernate.Image // that an earlier host left; nil if there was none
	info           *shellpb.InformationResponse
	hostSocket     *hostSocket // nil while the plugin can't call the host
	golden         goldenState
}

var _ shell.Process = (*Backend)(nil)

// New returns the backend of an instance. The plugin sleeps if an earlier host left it
// hibernated; an image that can't be trusted is quarantined.
func New(h Host, config func() configs.Plugin, sink shell.Sink) *Backend {
	b := newBackend(config().Callsign, h, config, sink)
	b.imageDir = h.Images.ImageDir(b.callsign)
	for _, dir := range []string{b.runDir(), b.runDir() + probeSuffix} {
		if err := markRunDirOfEarlierVersion(dir); err != nil {
			b.log.Warn().Err(err).Msg("could not mark the run directory")
		}
	}
	if err := ownedtree.RemoveMarked(b.runDir() + probeSuffix); err != nil { // an earlier host may have been killed in a probe
		b.log.Warn().Err(err).Msg("could not clear the run directory")
	}
	if err := b.loadImageAndClearLeftovers(); err != nil {
		b.log.Error().Err(err).Msg("could not clear up all that an earlier host left")
	}
	b.RemoveStaleGolden()
	return b
}

// newBackend returns a backend without images. dirName is the name of its run directory and
// of its cgroup.
func newBackend(dirName string, h Host, config func() configs.Plugin, sink shell.Sink) *Backend {
	if h.Programs == nil {
		h.Programs = make(ownCache)
	}
	if h.Remains == nil {
		h.Remains = &Remains{}
	}
	r, now := &router{}, config()
	log := h.Log.With().Str("callsign", now.Callsign).Logger()
	return &Backend{
		host:        h,
		callsign:    now.Callsign,
		config:      config,
		startConfig: now,
		startedWith: checksumOfStartConfig(now),
		dirName:     dirName,
		log:         log,
		limiter:     output.NewLimiter(func() int64 { return int64(config().LogRate) }, log),
		sink:        sink,
		router:      r,
		plugin:      shellpb.NewPluginClient(r),
		dispatcher:  shellpb.NewDispatcherClient(r),
		hooks:       shellpb.NewHooksClient(r),
	}
}

// takeStartConfig makes the present configuration that of the plugin which is about to start.
func (b *Backend) takeStartConfig() {
	b.startConfig = b.config()
	b.startedWith = checksumOfStartConfig(b.startConfig)
}

// Conn returns the connection to the plugin, see shell.Process.
func (b *Backend) Conn() grpc.ClientConnInterface { return b.router }

// Launch starts the program, connects to the plugin, and asks for its description, which it
// also caches, see shell.Backend.
func (b *Backend) Launch(ctx context.Context) (shell.Information, error) {
	b.takeStartConfig()
	program, err := b.host.findTrustedExecutable(b.startConfig.Executable)
	if err != nil {
		return shell.Information{}, fmt.Errorf("%w: %w", shell.ErrInstantiation, err)
	}
	b.recordColdStart(program)
	file := fileid.OfUnlessJustChanged(program)
	t, err := b.startProgramAndShakeHands(ctx, program)
	if err == nil {
		b.lastEvent.Store(0)
		err = b.dialAndRouteTo(ctx, t)
	}
	if err == nil {
		err = b.waitForExitErrorOr(b.fetchAndKeepInformation(ctx))
	}
	if err != nil {
		return shell.Information{}, fmt.Errorf("%w: %w", shell.ErrInstantiation, err)
	}
	failpoint.Hit("launch.informed")
	if err := b.cacheUnlessProgramReplaced(program, file); err != nil {
		b.log.Warn().Err(err).Msg("could not keep the program's information")
	}
	return b.information(), nil
}

// Initialize opens the host socket and gives the plugin its configuration, see
// shell.Backend. Unless the plugin is started warm, Initialize begins to pass its events
// on.
func (b *Backend) Initialize(ctx context.Context) error {
	if err := b.openHostSocket(b.currentLife().tree); err != nil {
		return fmt.Errorf("%w: %w", shell.ErrInitialization, err)
	}
	failpoint.Hit("initialize.begun")
	answer, err := b.plugin.Initialize(ctx, &shellpb.InitializeRequest{
		Callsign:      b.callsign,
		Configuration: b.startConfig.ConfigurationJSON(),
		Paths:         b.host.Paths(b.startConfig),
		HostSocket:    b.hostSocketPath(),
	})
	if err != nil {
		return fmt.Errorf("%w: %w", shell.ErrInitialization, b.waitForExitErrorOr(shellErrorFromGRPC(err)))
	}
	if text := answer.GetError(); text != "" {
		return fmt.Errorf("%w: %s", shell.ErrInitialization, text)
	}
	failpoint.Hit("initialize.done")
	if !b.startConfig.WarmStart {
		b.startFollowingReports(ctx) // else after MakeGolden: events that are not read yet come in every life
	}
	return nil
}

// Deinitialize notes in the journal that the plugin ends, and tells the plugin that its
// work is over, see shell.Backend.
func (b *Backend) Deinitialize(ctx context.Context, why shell.Reason) error {
	if t := b.currentLife().tree; t != nil {
		if err := b.writeTreeJournal(t, phaseEnding); err != nil {
			b.log.Warn().Err(err).Msg("the next host would take this plugin for an active one")
		}
	}
	failpoint.Hit("deactivate.begun")
	_, err := b.plugin.Deinitialize(ctx, &shellpb.DeinitializeRequest{Reason: why.Proto()})
	if err != nil {
		return fmt.Errorf("cannot deinitialize: %w", b.waitForExitErrorOr(shellErrorFromGRPC(err)))
	}
	return nil
}

// Stop ends the tree: it asks the plugin to end, sends SIGTERM after half of the stop
// timeout, kills the tree after the other half, and removes the run directory. It does
// nothing to a plugin whose image is on disk. See shell.Backend.
func (b *Backend) Stop(ctx context.Context) error {
	if b.currentLife().state == lifeStored {
		return nil // the wake needs the run directory
	}
	before := b.setLife(life{})
	t, l := before.tree, before.link
	if t == nil {
		_ = b.closeHostSocketAndConns(ctx, 0) // no process holds its connections
		return b.host.leaveForeign(b.callsign, b.removeRunDir())
	}
	failpoint.Hit("stop.begun")
	t.suppressExitReport()
	if before.state == lifeFrozen {
		_ = thaw(t) // a frozen plugin can't end by request
	}
	grace := time.Duration(b.config().StopTimeout) / 2
	if l != nil {
		until := time.Now().Add(grace)
		if l.requestShutdownAndWait(ctx, grace) == nil {
			t.waitEnd(time.Until(until))
		}
		b.router.connectTo(nil)
		l.closeAndWait()
		failpoint.Hit("stop.asked")
		t.sendSIGTERMAndWait(grace)
	}
	err := b.killAndReleaseTree(t)
	failpoint.Hit("stop.ended")
	_ = b.closeHostSocketAndConns(ctx, pluginDisconnectLimit) // the plugin's ends are closed with its processes
	if errors.Is(err, shell.ErrUnended) {
		return err // the next host needs the journal
	}
	return errors.Join(err, b.removeRunDir())
}

// killAndStop is Stop that kills the tree at once, in place of asking the plugin to end.
func (b *Backend) killAndStop(ctx context.Context) error {
	if t := b.currentLife().tree; t != nil {
		t.killUnreported()
	}
	return b.Stop(ctx)
}

// Invoke runs one method, see shell.Backend.
func (b *Backend) Invoke(ctx context.Context, c shell.Call) (json.RawMessage, error) {
	answer, err := b.dispatcher.Invoke(ctx, &shellpb.InvokeRequest{
		Method: c.Method, Index: c.Index, Params: c.Params, Caller: shell.CallerOf(ctx), Callsign: cmp.Or(c.Callsign, b.callsign),
	})
	if err != nil {
		return nil, shellErrorFromGRPC(err)
	}
	return answer.GetResult(), nil
}

// Exists reports whether the plugin has the method, see shell.Backend.
func (b *Backend) Exists(ctx context.Context, method string) (exists bool, err error) {
	return b.ExistsIn(ctx, b.callsign, method)
}

// ExistsIn is Exists for a virtual plugin, see shell.Process.
func (b *Backend) ExistsIn(ctx context.Context, callsign, method string) (exists bool, err error) {
	answer, err := b.dispatcher.Exists(ctx, &shellpb.ExistsRequest{Method: method, Callsign: callsign})
	if err != nil {
		return false, shellErrorFromGRPC(err)
	}
	return answer.GetExists(), nil
}

// ProcessFigures returns the kernel's figures of the tree, zero while no tree runs, and how
// many lines of the instance were dropped, see shell.Backend.
func (b *Backend) ProcessFigures() shell.ProcessFigures {
	t := b.currentLife().tree
	if t == nil || t.hasEnded() {
		return shell.ProcessFigures{DroppedLines: b.limiter.Dropped()}
	}
	return shell.ProcessFigures{
		DroppedLines: b.limiter.Dropped(),
		PID:          t.findProgramPID(), Root: t.root.Pid,
		Memory: procfs.PSS(t.pids()), Charged: t.cgroup().MemoryBytes(), Loading: t.loadingProgress(), ImageRead: t.imageBytesRead(),
	}
}

// fetchAndKeepInformation asks the plugin for its description and keeps it.
func (b *Backend) fetchAndKeepInformation(ctx context.Context) error {
	info, err := b.plugin.Information(ctx, &shellpb.InformationRequest{}, grpc.MaxCallRecvMsgSize(maxInformation))
	if err != nil {
		return fmt.Errorf("cannot ask the plugin for its information: %w", shellErrorFromGRPC(err))
	}
	if err := checkInformation(info); err != nil {
		return fmt.Errorf("cannot use the plugin's information: %w", err)
	}
	b.setInformation(info)
	return nil
}

// setInformation keeps what the plugin said of itself.
func (b *Backend) setInformation(info *shellpb.InformationResponse) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.info = info
}

// servesHooks reports whether the plugin serves the hooks of checkpoints.
func (b *Backend) servesHooks() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.serves(shellpb.HooksService)
}

// information returns the plugin's description of itself that was kept last, with a client
// for its state control.
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

		Profile: shell.ProfileFromProto(b.info.GetProfile()),

		MaxWebBody: int64(min(b.info.GetMaxWebBody(), math.MaxInt64)),
	}
	if b.serves(statecontrol.ServiceName) {
		info.StateControl = orderedControl{statecontrol.NewClient(b.router), &b.controlOrder}
	}
	return info
}

// serves reports whether the plugin serves the gRPC service. The caller holds mu.
func (b *Backend) serves(service string) bool {
	return slices.Contains(b.info.GetServices(), service)
}

// waitForExitErrorOr returns how the tree ended if err says that the plugin can't be reached any
// more and the tree has ended, for which it waits a moment. Otherwise it returns err.
func (b *Backend) waitForExitErrorOr(err error) error {
	t := b.currentLife().tree
	unreached := errors.Is(err, shell.ErrUnavailable) || errors.Is(err, shell.ErrNotAnswered)
	if t == nil || !unreached || !t.waitBrieflyForEnd() {
		return err
	}
	return t.waitExitError()
}
