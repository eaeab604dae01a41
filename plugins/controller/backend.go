package controller

import (
	"context"
	"encoding/json"
	"os"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// backend is the front as the backend of the instance Controller.
type backend struct{ front *Front }

var _ shell.Backend = backend{}

// Launch returns the class and the version of the host. It starts nothing.
func (b backend) Launch(context.Context) (shell.Information, error) {
	return shell.Information{
		Class:       configs.ControllerCallsign,
		Description: "The host itself",
		Version:     thunder.ParseVersionOrZero(b.front.options.Version),
	}, nil
}

// Initialize does nothing: the front is ready when the host serves.
func (b backend) Initialize(context.Context) error { return nil }

// Deinitialize does nothing: Front.Close ends the front.
func (b backend) Deinitialize(context.Context, shell.Reason) error { return nil }

// Stop does nothing, like Deinitialize.
func (b backend) Stop(context.Context) error { return nil }

// Invoke calls a method of the Controller. An error is a *shell.PluginError with
// Thunder's number, and the cause as its text if there is one.
func (b backend) Invoke(ctx context.Context, c shell.Call) (json.RawMessage, error) {
	result, err := b.front.callController(ctx, caller{client: access.HostItself()}, c)
	if err != nil {
		e := dialect.ErrorFor(dialect.R4{}, err) // R4's codes are Thunder's numbers
		answer := &shell.PluginError{Code: e.Code, Message: e.Message, Data: e.Data}
		if numbered := thunder.WithNumber(err); numbered.CauseAddsToNumber() {
			answer.Message = numbered.Error()
		}
		return nil, answer
	}
	return result, nil
}

// Exists reports whether the Controller has the method.
func (b backend) Exists(_ context.Context, method string) (bool, error) {
	_, exists := b.front.methods[method]
	return exists, nil
}

// ProcessFigures returns the process ID of the host.
func (b backend) ProcessFigures() shell.ProcessFigures { return shell.ProcessFigures{PID: os.Getpid()} }
