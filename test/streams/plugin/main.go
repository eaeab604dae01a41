// Command plugin serves package streams as a plugin that can sleep, and that can
// be told to keep a connection to its host socket.
package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc"

	"dormouse/plugins/sdk"
	"dormouse/test/streams"
)

func main() { sdk.Serve(&plugin{}) }

type plugin struct{ kept net.Conn }

func (p *plugin) Initialize(context.Context, *sdk.Instance) error { return nil }
func (p *plugin) Deinitialize(context.Context, sdk.Reason) error  { return nil }
func (p *plugin) Suspend(context.Context) error                   { return nil }
func (p *plugin) Resume(context.Context) error                    { return nil }

func (p *plugin) Register(r grpc.ServiceRegistrar) {
	streams.RegisterStreamsServer(r, &streams.Service{})
}

// AfterRestore notes whether the host listened by then.
func (p *plugin) AfterRestore(context.Context, sdk.Wake) error {
	conn, err := net.Dial("unix", hostSocket())
	if err != nil {
		return err
	}
	return conn.Close()
}

func (p *plugin) Methods() sdk.Methods {
	return sdk.Methods{
		// keep connects to the host socket and stays so, whatever the host says.
		"keep": sdk.Method(func(context.Context, struct{}) (bool, error) {
			conn, err := net.Dial("unix", hostSocket())
			if err == nil {
				p.kept = conn
			}
			return err == nil, err
		}),
		// die ends the process in the middle of the call.
		"die": func(context.Context, sdk.Call) (any, error) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		},
		"release": sdk.Method(func(context.Context, struct{}) (bool, error) {
			if p.kept == nil {
				return false, errors.New("there is none")
			}
			return true, p.kept.Close()
		}),
	}
}

// hostSocket lies beside the plugin's own.
func hostSocket() string { return filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "host") }
