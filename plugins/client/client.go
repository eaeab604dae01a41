// Package client is the Go client of the communicator's socket. It calls the host,
// its instances, and the gRPC services of plugins. It does not know those services,
// nor how a plugin runs.
package client

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"dormouse/plugins/controller/controllerpb"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol/statecontrolpb"
)

// Client is one connection to a host. It may be used from any goroutine, and
// reconnects when the host was restarted.
type Client struct{ conn *grpc.ClientConn }

// New returns a client of the host whose communicator socket is at socketPath. The first
// call connects.
func New(socketPath string) (*Client, error) {
	return dial("unix:"+socketPath, grpc.WithTransportCredentials(insecure.NewCredentials())) // the file mode of the socket protects it
}

// NewOverTCP returns a client of the host that serves gRPC at the address, host:port, with
// TLS. The client shows the token if that is not empty, and the certificates in config.
// Options are added to the client's own. The first call connects.
func NewOverTCP(address string, config *tls.Config, token string, options ...grpc.DialOption) (*Client, error) {
	options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(token)))
	}
	return dial(address, options...)
}

// dial returns a client of the target, with options besides those of every client.
func dial(target string, options ...grpc.DialOption) (*Client, error) {
	conn, err := grpc.NewClient(target, append(options,
		grpc.WithDisableServiceConfig(),
		grpc.WithInitialWindowSize(256<<10),
		grpc.WithInitialConnWindowSize(1<<20),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(shellpb.MaxMessage), grpc.MaxCallSendMsgSize(shellpb.MaxMessage)))...)
	if err != nil {
		return nil, err
	}
	return &Client{conn}, nil
}

// bearer is a token that is shown in the metadata of each call.
type bearer string

// GetRequestMetadata returns the metadata with the token.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity returns true: a token must not be sent in the clear.
func (bearer) RequireTransportSecurity() bool { return true }

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
	return shellpb.ConnToPlugin(callsign, c.conn)
}

// Close ends the connection and every call on it.
func (c *Client) Close() error { return c.conn.Close() }
