// Package client is the native client of a host: typed access to the host and
// its instances, and a connection to whatever services a plugin has of its own.
// It does not know those services, nor how a plugin runs.
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
// connects again by itself when the host was restarted.
type Client struct{ conn *grpc.ClientConn }

// Dial returns a client of the host whose communicator socket is at path. It
// connects with the first call.
func Dial(path string) (*Client, error) {
	conn, err := grpc.NewClient("unix:"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket's rights protect it
		grpc.WithDisableServiceConfig(),
		grpc.WithInitialWindowSize(256<<10),
		grpc.WithInitialConnWindowSize(1<<20),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(shellpb.MaxMessage), grpc.MaxCallSendMsgSize(shellpb.MaxMessage)))
	if err != nil {
		return nil, err
	}
	return &Client{conn}, nil
}

// Controller is the host as a whole.
func (c *Client) Controller() controllerpb.ControllerClient {
	return controllerpb.NewControllerClient(c.conn)
}

// Shell is what the host holds of one instance.
func (c *Client) Shell(callsign string) shellpb.ShellClient {
	return shellpb.NewShellClient(c.Conn(callsign))
}

// StateControl suspends and resumes one instance and tells which it is.
func (c *Client) StateControl(callsign string) statecontrolpb.StateControlClient {
	return statecontrolpb.NewStateControlClient(c.Conn(callsign))
}

// Conn is for the generated client of any service that the instance's plugin
// serves; Shell(callsign).Interfaces lists them.
func (c *Client) Conn(callsign string) grpc.ClientConnInterface {
	return conn{c.conn, callsign}
}

// Close ends the connection and every call on it.
func (c *Client) Close() error { return c.conn.Close() }

// conn names the instance in every call.
type conn struct {
	to       *grpc.ClientConn
	callsign string
}

func (c conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx = metadata.AppendToOutgoingContext(c.about(ctx), shellpb.UnaryKey, "1")
	return c.to.Invoke(ctx, method, args, reply, opts...)
}

func (c conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.to.NewStream(c.about(ctx), desc, method, opts...)
}

func (c conn) about(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, shellpb.CallsignKey, c.callsign)
}
