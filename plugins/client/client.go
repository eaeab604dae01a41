// Package client is the Go client of the communicator's socket. It calls the host,
// its instances, and the gRPC services of plugins. It does not know those services,
// nor how a plugin runs.
package client

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"dormouse/plugins/controller/controllerpb"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol/statecontrolpb"
)

// Client is one connection to a host. It may be used from any goroutine, and
// reconnects when the host was restarted.
type Client struct{ conn *grpc.ClientConn }

// Dial returns a client of the host whose communicator socket is at path. The first
// call connects.
func Dial(path string) (*Client, error) {
	conn, err := grpc.NewClient("unix:"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the file mode of the socket protects it
		grpc.WithDisableServiceConfig(),
		grpc.WithInitialWindowSize(256<<10),
		grpc.WithInitialConnWindowSize(1<<20),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(shellpb.MaxMessage), grpc.MaxCallSendMsgSize(shellpb.MaxMessage)))
	if err != nil {
		return nil, err
	}
	return &Client{conn}, nil
}

// Controller returns a client of the whole host.
func (c *Client) Controller() controllerpb.ControllerClient {
	return controllerpb.NewControllerClient(c.conn)
}

// Shell returns a client of one instance.
func (c *Client) Shell(callsign string) shellpb.ShellClient {
	return shellpb.NewShellClient(c.Conn(callsign))
}

// StateControl returns a client that suspends and resumes an instance, and watches
// that state.
func (c *Client) StateControl(callsign string) statecontrolpb.StateControlClient {
	return statecontrolpb.NewStateControlClient(c.Conn(callsign))
}

// Conn returns a connection for the generated clients of the plugin's own gRPC
// services. Shell(callsign).Interfaces lists them.
func (c *Client) Conn(callsign string) grpc.ClientConnInterface {
	return conn{c.conn, callsign}
}

// Close ends the connection and every call on it.
func (c *Client) Close() error { return c.conn.Close() }

// conn adds the callsign of an instance to every call.
type conn struct {
	to       *grpc.ClientConn
	callsign string
}

func (c conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx = metadata.AppendToOutgoingContext(c.withCallsign(ctx), shellpb.UnaryKey, "1")
	return c.to.Invoke(ctx, method, args, reply, opts...)
}

func (c conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.to.NewStream(c.withCallsign(ctx), desc, method, opts...)
}

func (c conn) withCallsign(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, shellpb.CallsignKey, c.callsign)
}
