package packager

import (
	"context"
	"encoding/json"
	"net/http"

	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// backend is the Packager as the backend of its instance.
type backend struct{ p *Packager }

var (
	_ shell.Backend = backend{}
	_ shell.Web     = backend{}
)

// uploadMemory is how much of an upload is in memory at once.
const uploadMemory = 64 << 10

// Endpoint returns what takes an upload, POST /Service/Packager/packages, or the notification of
// a registry, POST /Service/Packager/central.
func (b backend) Endpoint(httpMethod, path string) (shell.Endpoint, bool) {
	if httpMethod == http.MethodPost && path == "central" {
		return shell.Endpoint{Handler: http.HandlerFunc(b.p.serveNotification), Needs: "look", MaxBody: maxNotification}, true
	}
	if httpMethod != http.MethodPost || path != "packages" {
		return shell.Endpoint{}, false
	}
	return shell.Endpoint{
		Handler: http.HandlerFunc(b.p.serveUpload), Needs: "install",
		MaxBody: int64(b.p.settings().MaxSize), Memory: uploadMemory,
	}, true
}

// Launch returns the class and the version of the host. It starts nothing.
func (b backend) Launch(context.Context) (shell.Information, error) {
	return shell.Information{
		Class:       Callsign,
		Description: "Installs, upgrades and removes plugin packages",
		Version:     thunder.ParseVersionOrZero(b.p.options.Version),
	}, nil
}

// Initialize does nothing: Packager.Start takes up the work.
func (b backend) Initialize(context.Context) error { return nil }

// Deinitialize does nothing: Packager.Close ends the work.
func (b backend) Deinitialize(context.Context, shell.Reason) error { return nil }

// Stop does nothing, like Deinitialize.
func (b backend) Stop(context.Context) error { return nil }

// Invoke calls a method of the Packager. The error is shell.ErrUnknownMethod, or a
// *thunder.Error.
func (b backend) Invoke(ctx context.Context, c shell.Call) (json.RawMessage, error) {
	m, ok := methods[c.Method]
	if !ok {
		return nil, shell.ErrUnknownMethod
	}
	result, err := m.serve(ctx, b.p, c)
	if err != nil {
		return nil, numbered(err)
	}
	return json.Marshal(result)
}

// Exists reports whether the Packager has a method of that name.
func (b backend) Exists(_ context.Context, method string) (bool, error) {
	_, exists := methods[method]
	return exists, nil
}

// ProcessFigures returns zero figures, because the Packager has no process.
func (b backend) ProcessFigures() shell.ProcessFigures { return shell.ProcessFigures{} }
