package sdk

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell/shellpb"
	"dormouse/shell/webpb"
	"dormouse/statecontrol"
	"dormouse/statecontrol/statecontrolpb"
)

// server serves the contract's gRPC services to the host, and calls the plugin.
type server struct {
	shellpb.UnimplementedPluginServer
	shellpb.UnimplementedDispatcherServer
	shellpb.UnimplementedHooksServer
	shellpb.UnimplementedFlowServer

	log         *slog.Logger
	plugin      Plugin
	information *shellpb.InformationResponse
	events      *eventQueue

	// The plugin's optional interfaces. Each may be nil.
	methods Methods
	flows   Processor
	control *stateControl
	before  BeforeCheckpointer
	after   AfterRestorer

	tasks *tasks // that the plugin works on

	host         atomic.Pointer[hostConn] // nil before Initialize
	own          atomic.Pointer[string]   // the callsign of the instance, nil before Initialize
	initializing atomic.Bool              // the host has called Initialize
	initialized  atomic.Bool              // Initialize has succeeded, and Deinitialize was not called
	deinitialize sync.Once                // calls the plugin's Deinitialize
}

// newServer returns the server for p, with the optional interfaces that p implements. It
// calls Information and Methods of p.
func newServer(p Plugin, log *slog.Logger) *server {
	s := &server{plugin: p, log: log, events: newEventQueue(log)}
	about := Information{}
	if d, ok := p.(Describer); ok {
		about = d.Information()
	}
	s.information = &shellpb.InformationResponse{
		Name:        cmp.Or(about.Name, filepath.Base(os.Args[0])),
		Description: about.Description,
		Version:     &shellpb.Version{Major: about.Version.Major, Minor: about.Version.Minor, Patch: about.Version.Patch},

		Preconditions: about.Preconditions,
		Terminations:  about.Terminations,
		Controls:      about.Controls,

		Profile:    about.Profile.toWireOrNil(),
		MaxWebBody: about.MaxWebBody,
	}
	if d, ok := p.(Dispatcher); ok {
		s.methods = d.Methods()
	}
	s.flows, _ = p.(Processor)
	s.tasks = newTasks(p, about.Tasks, log)
	if c, ok := p.(Suspender); ok {
		s.control = newStateControl(c)
	}
	s.before, _ = p.(BeforeCheckpointer)
	s.after, _ = p.(AfterRestorer)
	return s
}

// registerAndListServices registers all services of the plugin on r, and lists those that
// clients may call in its information.
func (s *server) registerAndListServices(r grpc.ServiceRegistrar) {
	shellpb.RegisterPluginServer(r, s)
	listed := serviceLister{r, s.information}
	shellpb.RegisterDispatcherServer(listed, s)
	shellpb.RegisterHooksServer(listed, s)
	if s.flows != nil {
		shellpb.RegisterFlowServer(listed, s)
	}
	if s.tasks.runner != nil {
		taskspb.RegisterWorkerServer(listed, s.tasks)
	}
	if s.control != nil {
		statecontrolpb.RegisterStateControlServer(listed, s.control)
	}
	if operator, ok := s.plugin.(VirtualOperator); ok {
		shellpb.RegisterParentServer(listed, virtualOperator{operator: operator})
	}
	if web, ok := s.plugin.(WebServer); ok {
		webpb.RegisterWebServer(listed, webServer{server: s, handler: web.Web()})
	}
	if own, ok := s.plugin.(Registrar); ok {
		own.Register(listed)
	}
	if !slices.Contains(s.information.GetServices(), taskspb.Worker_ServiceDesc.ServiceName) {
		taskspb.RegisterWorkerServer(r, s.tasks) // for tasks that the plugin creates itself
	}
}

// serviceLister adds the name of each service registered with it to the plugin's
// information.
type serviceLister struct {
	grpc.ServiceRegistrar
	information *shellpb.InformationResponse
}

// RegisterService registers the service, and adds its name to the plugin's information.
func (l serviceLister) RegisterService(d *grpc.ServiceDesc, service any) {
	l.information.Services = append(l.information.Services, d.ServiceName)
	l.ServiceRegistrar.RegisterService(d, service)
}

// newGRPCServer returns the gRPC server on which go-plugin registers the services.
func (s *server) newGRPCServer(options []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(options,
		grpc.MaxRecvMsgSize(shellpb.MaxMessage),
		grpc.MaxSendMsgSize(shellpb.MaxMessage),
		grpc.UnaryInterceptor(func(ctx context.Context, r any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (_ any, err error) {
			defer s.announceEvents(func(trailer metadata.MD) { _ = grpc.SetTrailer(ctx, trailer) })
			defer s.recoverPanicAsError(info.FullMethod, &err)
			return next(ctx, r)
		}),
		grpc.StreamInterceptor(func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
			defer s.announceEvents(stream.SetTrailer)
			defer s.recoverPanicAsError(info.FullMethod, &err)
			return next(service, stream)
		}),
	)...)
}

// announceEvents puts the number of the newest event into the trailer of an answer, so that
// the host passes the events before the answer on first. Before the first event it does
// nothing.
func (s *server) announceEvents(setTrailer func(metadata.MD)) {
	if newest := s.events.newestSequence(); newest > 0 {
		setTrailer(shellpb.EventsUntil(newest))
	}
}

// recoverPanicAsError logs a panic of the plugin and turns it into the error of the call.
// It must be deferred.
func (s *server) recoverPanicAsError(call string, err *error) {
	if v := recover(); v != nil {
		s.log.Error("the plugin panicked", "call", call, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		*err = shellpb.ErrorWithDetail(codes.Internal, fmt.Sprintf("the plugin panicked: %v", v), &shellpb.Error{Code: General})
	}
}

// Information returns the description that the plugin gave when it was started.
func (s *server) Information(context.Context, *shellpb.InformationRequest) (*shellpb.InformationResponse, error) {
	return s.information, nil
}

// Initialize makes the Instance and calls the plugin's Initialize. The plugin's error is in
// the response. A second call is an error, also after a failure.
func (s *server) Initialize(ctx context.Context, r *shellpb.InitializeRequest) (*shellpb.InitializeResponse, error) {
	if !s.initializing.CompareAndSwap(false, true) {
		return nil, status.Error(codes.FailedPrecondition, "the plugin was initialized before")
	}
	host := &hostConn{socket: r.GetHostSocket()}
	s.host.Store(host)
	callsign := r.GetCallsign()
	s.own.Store(&callsign)
	own := &Host{conn: host, tasks: s.tasks}
	s.tasks.begin(own, callsign)
	err := s.plugin.Initialize(ctx, &Instance{
		Callsign:      r.GetCallsign(),
		Configuration: r.GetConfiguration(),
		Persistent:    r.GetPaths().GetPersistent(),
		Volatile:      r.GetPaths().GetVolatile(),
		Data:          r.GetPaths().GetData(),
		Host:          own,
		Log:           s.log,
		events:        s.events,
		control:       s.control,
	})
	if err != nil {
		host.closeForGood()
		return &shellpb.InitializeResponse{Error: fmt.Sprintf("cannot initialize: %v", err)}, nil
	}
	if s.control != nil {
		s.control.appendStateAndWake(statecontrol.Suspended)
	}
	s.initialized.Store(true)
	return &shellpb.InitializeResponse{}, nil
}

// callsign returns the callsign of the instance, empty before Initialize.
func (s *server) callsign() string {
	if own := s.own.Load(); own != nil {
		return *own
	}
	return ""
}

// Deinitialize calls the plugin's Deinitialize, see deinitializeOnce.
func (s *server) Deinitialize(ctx context.Context, r *shellpb.DeinitializeRequest) (*shellpb.DeinitializeResponse, error) {
	return &shellpb.DeinitializeResponse{}, statusFromError(s.deinitializeOnce(ctx, Reason(r.GetReason().Words())))
}

// deinitializeOnce calls the plugin's Deinitialize if Initialize succeeded, and then
// closes the connection to the host for good. A second call waits for the first one and
// does nothing.
func (s *server) deinitializeOnce(ctx context.Context, why Reason) (err error) {
	if !s.initializing.Load() {
		return nil
	}
	s.deinitialize.Do(func() {
		if !s.initialized.CompareAndSwap(true, false) {
			return
		}
		s.tasks.endAll(ctx)
		if err = s.plugin.Deinitialize(ctx, why); err != nil {
			s.log.Error("cannot deinitialize in order", "error", err)
		}
		if s.control != nil {
			s.control.appendStateAndWake(statecontrol.Exited)
		}
		s.host.Load().closeForGood()
	})
	return err
}

// Invoke calls the plugin's handler of the method. It fails with Unimplemented for an unknown
// method, and with Unavailable before Initialize and after Deinitialize.
func (s *server) Invoke(ctx context.Context, r *shellpb.InvokeRequest) (*shellpb.InvokeResponse, error) {
	handler, ok := s.methods[r.GetMethod()]
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "unknown method %q", r.GetMethod())
	}
	if !s.initialized.Load() {
		return nil, status.Error(codes.Unavailable, "the plugin is not initialized")
	}
	ctx = withVirtual(withCaller(ctx, r.GetCaller()), s.virtualNamed(r.GetCallsign()))
	result, err := handler(ctx, Call{Method: r.GetMethod(), Index: r.GetIndex(), Params: r.GetParams()})
	if err != nil {
		return nil, statusFromError(err)
	}
	raw, err := encodeJSON(result)
	if err != nil {
		return nil, statusFromError(fmt.Errorf("cannot encode the result of %s: %w", r.GetMethod(), err))
	}
	return &shellpb.InvokeResponse{Result: raw}, nil
}

// Exists reports whether the plugin has the method.
func (s *server) Exists(_ context.Context, r *shellpb.ExistsRequest) (*shellpb.ExistsResponse, error) {
	_, ok := s.methods[r.GetMethod()]
	return &shellpb.ExistsResponse{Exists: ok}, nil
}

// Events sends the plugin's events to the host until the host opens another such stream. The
// header says after which event the stream begins.
func (s *server) Events(r *shellpb.EventsRequest, stream grpc.ServerStreamingServer[shellpb.Event]) error {
	begin := func(after uint64) error { return stream.SendHeader(shellpb.EventsUntil(after)) }
	return s.events.sendUntilStreamEnds(stream.Context(), r.GetAfter(), begin, stream.Send)
}

// BeforeCheckpoint calls the plugin's BeforeCheckpoint. If that succeeds, BeforeCheckpoint
// closes the connection to the host and frees the garbage on the heap.
func (s *server) BeforeCheckpoint(ctx context.Context, _ *shellpb.BeforeCheckpointRequest) (*shellpb.BeforeCheckpointResponse, error) {
	if s.before != nil {
		if err := s.before.BeforeCheckpoint(ctx); err != nil {
			return nil, statusFromError(err)
		}
	}
	if host := s.host.Load(); host != nil {
		host.closeForSleep()
	}
	// Garbage would be written to the image and read back. Freeing 500 MiB takes 1 ms
	// if the memory holds no pointers, 70 ms if it is eight million small objects, and
	// 400 ms if it is one large map.
	debug.FreeOSMemory()
	return &shellpb.BeforeCheckpointResponse{}, nil
}

// AfterRestore lets calls to the host connect again, and calls the plugin's AfterRestore.
func (s *server) AfterRestore(ctx context.Context, r *shellpb.AfterRestoreRequest) (*shellpb.AfterRestoreResponse, error) {
	if host := s.host.Load(); host != nil {
		host.allowReopeningAfterSleep()
	}
	if s.after != nil {
		wake := Wake{Generation: r.GetGeneration(), Slept: r.GetSlept().AsDuration(), Warm: r.GetWarm()}
		if err := s.after.AfterRestore(ctx, wake); err != nil {
			return nil, statusFromError(err)
		}
	}
	return &shellpb.AfterRestoreResponse{}, nil
}
