// Package shelltest has backends in memory for the tests of what is above them.
package shelltest

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/hibernate"
	"dormouse/shell"
)

// Stub is a backend whose every method succeeds and does nothing. Tests embed it and
// replace the methods that matter to them.
type Stub struct{}

var _ shell.Process = Stub{}

func (Stub) Launch(context.Context) (shell.Information, error) { return shell.Information{}, nil }
func (Stub) Initialize(context.Context) error                  { return nil }
func (Stub) Deinitialize(context.Context, shell.Reason) error  { return nil }
func (Stub) Stop(context.Context) error                        { return nil }
func (Stub) Exists(context.Context, string) (bool, error)      { return false, nil }
func (Stub) Facts() shell.Facts                                { return shell.Facts{} }
func (Stub) Conn() grpc.ClientConnInterface                    { return silent{} }
func (Stub) Probe(context.Context) (shell.Information, error)  { return shell.Information{}, nil }
func (Stub) KnownInformation() (shell.Information, bool)       { return shell.Information{}, false }
func (Stub) Evidence() shell.Evidence                          { return shell.Evidence{} }
func (Stub) Hibernate(context.Context) error                   { return nil }
func (Stub) HibernationObstacle() error                        { return nil }
func (Stub) HibernationProgress() shell.Progress               { return shell.Progress{} }
func (Stub) Sleep() *shell.Sleep                               { return nil }
func (Stub) MoveToDisk(context.Context) error                  { return nil }
func (Stub) PrepareWake(context.Context) error                 { return nil }
func (Stub) Wake(context.Context) (shell.Information, error)   { return shell.Information{}, nil }
func (Stub) EndSleep(context.Context) error                    { return nil }
func (Stub) StartWarm(context.Context) (shell.Information, error) {
	return shell.Information{}, shell.ErrCold
}
func (Stub) MakeGolden(context.Context) error                 { return nil }
func (Stub) SkipGolden()                                      {}
func (Stub) StartedFrom() *shell.GoldenImage                  { return nil }
func (Stub) Golden() (*shell.GoldenImage, error)              { return nil, hibernate.ErrNoImage }
func (Stub) InvalidateGolden(error)                           {}
func (Stub) RemoveStaleGolden()                               {}
func (Stub) NoteActivated(shell.Reason)                       {}
func (Stub) Inherited() (shell.Reason, bool)                  { return "", false }
func (Stub) Adopt(context.Context) (shell.Information, error) { return shell.Information{}, nil }
func (Stub) OutlivesHost() bool                               { return false }
func (Stub) Leave(context.Context) error                      { return nil }
func (Stub) Invoke(context.Context, shell.Call) (json.RawMessage, error) {
	return json.RawMessage("null"), nil
}

// silent is a connection to a plugin that serves nothing.
type silent struct{}

func (silent) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return status.Error(codes.Unimplemented, "the plugin is a stub")
}

func (silent) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "the plugin is a stub")
}
