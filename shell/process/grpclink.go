package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"dormouse/internal/http2room"
	"dormouse/internal/procfs"
	"dormouse/internal/timelimit"
	"dormouse/internal/unixsock"
	"dormouse/shell"
	"dormouse/shell/process/output"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// link is one gRPC connection of the host to a plugin, made by go-plugin's client.
type link struct {
	socket string // path
	room   *http2room.Room
	conn   *grpc.ClientConn
	made   atomic.Pointer[grpc.ClientConn] // conn, known before go-plugin returns it
	losses atomic.Int64                    // how often a connection was lost or closed

	events      eventOrder
	lifetime    context.Context // ends the streams and go-plugin's goroutines
	endLifetime context.CancelFunc
	following   sync.WaitGroup // the readers of the plugin's reports
}

// Limits of what a plugin may send, in bytes: what nothing has read, of one call and of all,
// for a longer message needs room; and the metadata of an answer, with the text of its error.
const (
	streamWindow     = 64 << 10
	connectionWindow = 1 << 20
	maxHeader        = 1 << 20
)

// dialLink connects to the plugin of tree t, whose output through go-plugin counts as that
// of its streams; go-plugin itself writes to log. It makes go-plugin believe that it reattaches to a plugin, so that go-plugin
// neither starts nor ends a process nor removes files.
func dialLink(ctx context.Context, t *tree, room *http2room.Room, log zerolog.Logger) (*link, error) {
	l := &link{socket: t.socket, room: room, events: eventOrder{log: log}}
	l.lifetime, l.endLifetime = context.WithCancel(context.Background())
	address := &net.UnixAddr{Name: t.socket, Net: "unix"}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion:  shellpb.ProtocolVersion,
			MagicCookieKey:   shellpb.CookieKey,
			MagicCookieValue: shellpb.CookieValue,
		},
		Plugins:          plugin.PluginSet{},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           goPluginLogger(log),
		SyncStdout:       t.output.NewLineLogger("stdout"),
		SyncStderr:       t.output.NewLineLogger("stderr"),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.dial(ctx, t, address) }),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(shellpb.MaxMessage), grpc.MaxCallSendMsgSize(shellpb.MaxMessage)),
			grpc.WithDisableServiceConfig(),
			grpc.WithInitialWindowSize(streamWindow),
			grpc.WithInitialConnWindowSize(connectionWindow),
			grpc.WithMaxHeaderListSize(maxHeader),
			grpc.WithStreamInterceptor(l.keepConnAndOpenStream),
		},
		Reattach: &plugin.ReattachConfig{
			Protocol:        plugin.ProtocolGRPC,
			ProtocolVersion: shellpb.ProtocolVersion,
			Addr:            address,
			ReattachFunc:    func() (runner.AttachedRunner, error) { return reattachedRunner{l}, nil },
		},
	})
	stopWatching := context.AfterFunc(ctx, l.close)
	defer stopWatching()
	protocol, err := client.Client()
	if err != nil {
		l.close()
		if ctx.Err() != nil {
			err = timelimit.EndError(ctx)
		}
		return nil, fmt.Errorf("cannot connect to the plugin: %w", err)
	}
	l.conn = protocol.(*plugin.GRPCClient).Conn //nolint:errcheck // only gRPC is allowed above
	return l, nil
}

// dial connects to the socket of tree t, and counts when the connection is lost.
func (l *link) dial(ctx context.Context, t *tree, address *net.UnixAddr) (net.Conn, error) {
	conn, err := dialAndCheckPeer(ctx, t, address)
	if err != nil {
		return nil, err
	}
	if l.room != nil {
		conn = http2room.NewClientConn(conn, l.room)
	}
	return &linkConn{Conn: conn, noteLoss: sync.OnceFunc(func() { l.losses.Add(1) })}, nil
}

// dialAndCheckPeer connects to the socket and checks that a process of the tree listens
// there.
func dialAndCheckPeer(ctx context.Context, t *tree, address *net.UnixAddr) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", address.Name)
	if err != nil {
		return nil, err
	}
	if err := checkPeerInTree(conn.(*net.UnixConn), t); err != nil { //nolint:errcheck // it is a unix socket
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// checkPeerInTree returns an error unless the other end of conn is a process of the tree.
func checkPeerInTree(conn *net.UnixConn, t *tree) error {
	peer, err := unixsock.PeerOf(conn)
	if err != nil {
		return err
	}
	if peer.PID != t.root.Pid && !slices.Contains(t.pids(), peer.PID) {
		return fmt.Errorf("process %d at the other end of the plugin's socket does not belong to the plugin", peer.PID)
	}
	return nil
}

// requestShutdownAndWait asks go-plugin's server in the plugin to end, and waits for the
// answer up to limit, even if ctx ends. A plugin without that server answers with an
// error.
func (l *link) requestShutdownAndWait(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	return l.conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
}

// goPluginLogger returns the logger that go-plugin logs to: warnings and errors go to log.
func goPluginLogger(log zerolog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name:       "go-plugin",
		Level:      hclog.Warn, // lower levels log each step of each connection
		Output:     output.NewLineLogger(log),
		JSONFormat: true,
		TimeFn:     time.Now,
	})
}

// brokerStream is the stream in which a plugin offers connections to go-plugin's broker.
const brokerStream = "/plugin.GRPCBroker/StartStream"

// keepConnAndOpenStream is a gRPC interceptor that opens a stream and keeps its connection
// for close: go-plugin returns the connection only when the plugin has answered on it,
// which may take for ever. After close it opens no stream.
func (l *link) keepConnAndOpenStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	open grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	l.made.Store(conn)
	if method == brokerStream {
		return nil, status.Error(codes.Unimplemented, "the host uses no broker")
	}
	select {
	case <-l.lifetime.Done():
		return nil, status.Error(codes.Canceled, "the connection was given up")
	default:
		return open(ctx, desc, conn, method, opts...)
	}
}

// close closes the connection, or gives up the attempt to connect. It does not tell the
// plugin, as go-plugin's Close would.
func (l *link) close() {
	l.endLifetime()
	if conn := l.made.Load(); conn != nil {
		_ = conn.Close()
	}
}

// closeAndWait closes the link and returns when no goroutine reads from it any more.
func (l *link) closeAndWait() {
	l.close()
	l.following.Wait()
}

// dialAndRouteTo makes a link to the tree and has the router call through it. It returns
// an error if the tree was stopped meanwhile.
func (b *Backend) dialAndRouteTo(ctx context.Context, t *tree) error {
	l, err := dialLink(ctx, t, b.host.Room, b.log)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.life.tree != t {
		l.close()
		return errors.New("the plugin was stopped meanwhile")
	}
	b.life.link = l
	b.router.connectTo(l)
	return nil
}

// closeLinkAndWait closes the link, if there is one, and returns when no goroutine reads
// from it. Calls to the plugin then fail with ErrUnavailable.
func (b *Backend) closeLinkAndWait() {
	b.mu.Lock()
	l := b.life.link
	b.life.link = nil
	b.mu.Unlock()
	if l != nil {
		b.router.connectTo(nil)
		l.closeAndWait()
	}
}

// waitDisconnected returns when no connection to the socket is left, or an error when ctx
// ends before. It polls, since the kernel does not report when the plugin closes its end.
func waitDisconnected(ctx context.Context, socket string) error {
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		peers, err := procfs.CountUnixConnections(socket)
		if err != nil || peers == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d connections to the plugin's socket are still open: %w", peers, timelimit.EndError(ctx))
		}
	}
}

// startFollowingReports begins to pass the plugin's events and state changes on, in the
// background until the link is closed. It returns when the events that the plugin has
// announced so far are passed on. It does nothing without a link.
func (b *Backend) startFollowingReports(ctx context.Context) {
	if l := b.startReportReaders(); l != nil {
		l.events.waitForAnnounced(ctx)
	}
}

// startReportReaders starts the goroutines that read the plugin's events and state changes
// until the link is closed. It returns the link, nil if there is none.
func (b *Backend) startReportReaders() *link {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.life.link
	if l == nil {
		return nil
	}
	if b.serves(shellpb.DispatcherService) {
		l.events.begin(b.lastEvent.Load())
		l.following.Go(func() { b.followEvents(l) })
	}
	if b.serves(statecontrol.ServiceName) {
		l.following.Go(func() { b.followStateControl(l) })
	}
	return l
}

// followStateControl passes on changes of the plugin's state control until the link is closed. A
// report may come after the answer to a later request, so at each report it asks for the
// present state.
func (b *Backend) followStateControl(l *link) {
	client := statecontrol.NewClient(l)
	_ = client.Watch(l.lifetime, func(statecontrol.State) {
		b.controlOrder.Lock()
		defer b.controlOrder.Unlock()
		if now, err := client.State(l.lifetime); err == nil {
			b.sink.ControlChanged(now)
		}
	})
}

// orderedControl is a plugin's state control whose requests wait while a report is passed
// on.
type orderedControl struct {
	statecontrol.Control
	order *sync.Mutex
}

// Request sends the command when no report is being passed on.
func (c orderedControl) Request(ctx context.Context, command statecontrol.Command) error {
	c.order.Lock()
	defer c.order.Unlock()
	return c.Control.Request(ctx, command)
}

// followEvents passes on the events after the last one that was passed on before, until the
// link is closed or the stream fails.
func (b *Backend) followEvents(l *link) {
	defer l.events.end()
	stream, err := shellpb.NewDispatcherClient(l.conn).Events(l.lifetime, &shellpb.EventsRequest{After: b.lastEvent.Load()})
	if err != nil {
		return
	}
	if header, err := stream.Header(); err == nil { // of an older SDK it comes with the first event
		if after, named := shellpb.ParseEventsUntil(header); named {
			b.lastEvent.Store(after)
			l.events.notePassed(after)
		}
	}
	for err == nil {
		var event *shellpb.Event
		if event, err = stream.Recv(); err == nil {
			b.lastEvent.Store(event.GetSequence())
			b.sink.Notify(shell.Notification{
				Event: event.GetName(), Index: event.GetIndex(), Params: event.GetParams(), Sequence: event.GetSequence(), Callsign: event.GetCallsign(),
			})
			l.events.notePassed(event.GetSequence())
		}
	}
}

// reattachedRunner takes the place of the process in go-plugin's client, which must not
// touch the real one: Kill fails, and addresses stay as they are.
type reattachedRunner struct{ l *link }

var _ runner.AttachedRunner = reattachedRunner{}

// Wait returns when the link is closed, which ends go-plugin's goroutines.
func (a reattachedRunner) Wait(context.Context) error {
	<-a.l.lifetime.Done()
	return nil
}

// Kill returns an error and kills nothing.
func (a reattachedRunner) Kill(context.Context) error { return syscall.ENOTSUP }

// ID returns the path of the plugin's socket.
func (a reattachedRunner) ID() string { return a.l.socket }

func (a reattachedRunner) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

func (a reattachedRunner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// router is a gRPC connection that outlives the links: it passes calls to the present
// one, and fails them with ErrUnavailable while there is none.
type router struct {
	link atomic.Pointer[link]
}

var _ grpc.ClientConnInterface = (*router)(nil)

// connectTo makes l the link for calls; nil means none.
func (r *router) connectTo(l *link) { r.link.Store(l) }

// Invoke makes a unary call through the present link.
func (r *router) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	l := r.link.Load()
	if l == nil {
		return errNotConnected
	}
	return l.Invoke(ctx, method, args, reply, opts...)
}

// NewStream opens a stream through the present link. The stream ends with the link.
func (r *router) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	l := r.link.Load()
	if l == nil {
		return nil, errNotConnected
	}
	return l.NewStream(ctx, desc, method, opts...)
}

var errNotConnected = fmt.Errorf("%w: %w: the plugin is not connected", shell.ErrUnavailable, shell.ErrNotDelivered)
