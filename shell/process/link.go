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

	"dormouse/internal/procfs"
	"dormouse/internal/unixsock"
	"dormouse/shell"
	"dormouse/shell/process/output"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// link is one connection of the host to a plugin process.
type link struct {
	socket string
	conn   *grpc.ClientConn
	made   atomic.Pointer[grpc.ClientConn] // conn, as soon as there is one
	client *plugin.Client

	released  chan struct{} // closed to make go-plugin let go
	release   func()
	streams   context.Context
	endStream context.CancelFunc
	following sync.WaitGroup
}

// dialLink connects to the plugin of tree t. go-plugin is told that it
// re-attaches, the first time too: it then starts, ends and removes nothing.
func dialLink(ctx context.Context, t *tree, socket string, log zerolog.Logger, tail *output.Tail) (*link, error) {
	l := &link{socket: socket, released: make(chan struct{})}
	l.release = sync.OnceFunc(func() { close(l.released) })
	l.streams, l.endStream = context.WithCancel(context.Background())
	address := &net.UnixAddr{Name: socket, Net: "unix"}
	l.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion:  shellpb.ProtocolVersion,
			MagicCookieKey:   shellpb.CookieKey,
			MagicCookieValue: shellpb.CookieValue,
		},
		Plugins:          plugin.PluginSet{},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           libraryLog(log),
		SyncStdout:       output.NewLineWriter("stdout", log, tail),
		SyncStderr:       output.NewLineWriter("stderr", log, tail),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, t, address) }),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(shellpb.MaxMessage), grpc.MaxCallSendMsgSize(shellpb.MaxMessage)),
			grpc.WithDisableServiceConfig(),
			grpc.WithStreamInterceptor(l.openStream),
		},
		Reattach: &plugin.ReattachConfig{
			Protocol:        plugin.ProtocolGRPC,
			ProtocolVersion: shellpb.ProtocolVersion,
			Addr:            address,
			ReattachFunc:    func() (runner.AttachedRunner, error) { return attached{l}, nil },
		},
	})
	settled := context.AfterFunc(ctx, l.close)
	defer settled()
	protocol, err := l.client.Client()
	if err != nil {
		l.close()
		return nil, fmt.Errorf("cannot connect to the plugin: %w", errors.Join(ctx.Err(), err))
	}
	l.conn = protocol.(*plugin.GRPCClient).Conn //nolint:errcheck // only gRPC is allowed above
	return l, nil
}

// dial connects to the socket and makes sure that a process of the tree listens
// there.
func dial(ctx context.Context, t *tree, address *net.UnixAddr) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", address.Name)
	if err != nil {
		return nil, err
	}
	if err := checkPeer(conn.(*net.UnixConn), t); err != nil { //nolint:errcheck // it is a unix socket
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func checkPeer(conn *net.UnixConn, t *tree) error {
	peer, err := unixsock.PeerOf(conn)
	if err != nil {
		return err
	}
	if peer.PID != t.root.Pid && !slices.Contains(t.pids(), peer.PID) {
		return fmt.Errorf("process %d is at the other end of the plugin's socket and is none of the plugin's", peer.PID)
	}
	return nil
}

// shutdown asks go-plugin's server in the plugin to end. A plugin that does not
// have one answers with an error.
func (l *link) shutdown(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	return l.conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
}

// libraryLog returns the logger that go-plugin logs to.
func libraryLog(log zerolog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name:       "go-plugin",
		Level:      hclog.Warn, // below that it tells each step of each connection
		Output:     output.NewLineWriter("", log, nil),
		JSONFormat: true,
		TimeFn:     time.Now,
	})
}

// openStream notes the connection: go-plugin keeps it to itself until the plugin
// has answered on it, however long that takes.
func (l *link) openStream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	open grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	l.made.Store(conn)
	select {
	case <-l.released:
		return nil, status.Error(codes.Canceled, "the connection was given up")
	default:
		return open(ctx, desc, conn, method, opts...)
	}
}

// close ends the connection, or the attempt to make it, without a word to the
// plugin. It does not use go-plugin's Close, which would end that.
func (l *link) close() {
	l.endStream()
	l.release()
	if conn := l.made.Load(); conn != nil {
		_ = conn.Close()
	}
}

// detach closes the link and returns when nobody uses it any more.
func (l *link) detach() {
	l.close()
	l.following.Wait()
}

// connect puts a new link to the tree behind the router.
func (b *Backend) connect(ctx context.Context, t *tree, socket string) error {
	l, err := dialLink(ctx, t, socket, b.log, &b.tail)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tree != t {
		l.close()
		return errors.New("the plugin was stopped meanwhile")
	}
	b.link = l
	b.router.set(l.conn)
	return nil
}

// disconnect takes the link away and returns when the plugin has noticed.
func (b *Backend) disconnect(ctx context.Context) error {
	b.mu.Lock()
	l := b.link
	b.link = nil
	b.mu.Unlock()
	if l == nil {
		return nil
	}
	b.router.set(nil)
	l.detach()
	return waitNoPeer(ctx, l.socket)
}

// waitNoPeer returns when no connection to the socket is left. The plugin closes
// its end on its own time, and nothing announces it.
func waitNoPeer(ctx context.Context, socket string) error {
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		peers, err := procfs.CountUnixPeers(socket)
		if err != nil || peers == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d connections to the plugin's socket are still open: %w", peers, ctx.Err())
		}
	}
}

// follow listens to what the plugin tells by itself, until the link is detached.
func (b *Backend) follow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.link
	if l == nil {
		return
	}
	if b.serves(shellpb.DispatcherService) {
		l.following.Go(func() { b.followEvents(l) })
	}
	if b.serves(statecontrol.ServiceName) {
		l.following.Go(func() { b.followControl(l) })
	}
}

// followControl takes what the watch tells for a hint: it may come after the
// answer to a later request, so the plugin is asked where it stands now.
func (b *Backend) followControl(l *link) {
	client := statecontrol.NewClient(l.conn)
	_ = client.Watch(l.streams, func(statecontrol.State) {
		b.asking.Lock()
		defer b.asking.Unlock()
		if now, err := client.State(l.streams); err == nil {
			b.sink.ControlChanged(now)
		}
	})
}

// control is a plugin's state control, whose requests wait for reports that are
// on their way.
type control struct {
	statecontrol.Control
	asking *sync.Mutex
}

func (c control) Request(ctx context.Context, command statecontrol.Command) error {
	c.asking.Lock()
	defer c.asking.Unlock()
	return c.Control.Request(ctx, command)
}

func (b *Backend) followEvents(l *link) {
	stream, err := shellpb.NewDispatcherClient(l.conn).Events(l.streams, &shellpb.EventsRequest{After: b.seen.Load()})
	for err == nil {
		var event *shellpb.Event
		if event, err = stream.Recv(); err == nil {
			b.seen.Store(event.GetSequence())
			b.sink.Notify(shell.Notification{Event: event.GetName(), Index: event.GetIndex(), Params: event.GetParams()})
		}
	}
}

// attached is what go-plugin believes to run the plugin.
type attached struct{ l *link }

var _ runner.AttachedRunner = attached{}

// Wait lets go-plugin's goroutines go when the link is detached.
func (a attached) Wait(context.Context) error {
	<-a.l.released
	return nil
}

func (a attached) Kill(context.Context) error { return syscall.ENOTSUP }
func (a attached) ID() string                 { return a.l.socket }

func (a attached) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

func (a attached) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// router is a connection that stays while the one behind it comes and goes.
type router struct {
	conn atomic.Pointer[grpc.ClientConn]
}

var _ grpc.ClientConnInterface = (*router)(nil)

// set puts conn behind the router, or nothing when it is nil.
func (r *router) set(conn *grpc.ClientConn) { r.conn.Store(conn) }

func (r *router) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn := r.conn.Load()
	if conn == nil {
		return errNotConnected
	}
	return conn.Invoke(ctx, method, args, reply, opts...)
}

func (r *router) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn := r.conn.Load()
	if conn == nil {
		return nil, errNotConnected
	}
	return conn.NewStream(ctx, desc, method, opts...)
}

var errNotConnected = status.Error(codes.Unavailable, "the plugin is not connected")
