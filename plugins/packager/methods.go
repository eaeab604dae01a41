package packager

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/plugins/packager/oci"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
)

// method is one method of the Packager.
type method struct {
	access access.Role
	// serve returns the result, which is encoded as JSON. It does not wait for an operation.
	serve func(context.Context, *Packager, shell.Call) (any, error)
}

// methods are the methods of the Packager, by name. Install and synchronize are those of
// Thunder's plugin Packager.
var methods = map[string]method{
	"list":    {access.Read, serveList},
	"show":    {access.Read, serveShow},
	"get":     {access.Read, serveShow},
	"history": {access.Read, serveHistory},
	"browse":  {access.Read, serveBrowse},
	"central": {access.Read, serveCentral},
	"trash":   {access.Read, serveTrash},

	"look": {access.Call, serveLook},

	"enable":   {access.Operate, withPackage(serveEnable)},
	"disable":  {access.Operate, withPackage(serveDisable)},
	"retry":    {access.Operate, withPackage(serveRetry)}, // with options that lift a refusal, access.Admin
	"rollback": {access.Operate, withPackage(serveRollback)},
	"cancel":   {access.Operate, withPackage(func(p *Packager, a params) error { return p.Cancel(a.Package) })},

	"install":     {access.Admin, serveInstall},
	"upgrade":     {access.Admin, serveUpgrade},
	"uninstall":   {access.Admin, withPackage(serveUninstall)},
	"synchronize": {access.Admin, serveSynchronize},
	"sync":        {access.Admin, serveSync},
	"restore":     {access.Admin, serveRestore},
}

// NeededAccess returns the role that a caller needs for a call of the Packager, and what the
// call is about. A method that it does not have needs access.Read, and then fails.
func NeededAccess(callsign string, c shell.Call) (access.Role, access.Target) {
	about := access.Target{Callsign: callsign, Method: c.Method}
	if c.Method == "retry" && liftsRefusal(c.Params) {
		return access.Admin, about // as of what was refused
	}
	if m, ok := methods[c.Method]; ok {
		return m.access, about
	}
	return access.Read, about
}

// params are the parameters of all methods. Each method reads its own of them.
type params struct {
	Package      string `json:"package"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	// Operation is an id that the client gives the operation, to know it among the events.
	Operation string `json:"operation"`

	Replace   bool `json:"replace"`
	Downgrade bool `json:"downgrade"`
	Grant     bool `json:"grant"`

	Drain   bool `json:"drain"`
	Discard bool `json:"discard"`
	Force   bool `json:"force"`
	Purge   bool `json:"purge"`

	DryRun bool   `json:"dryrun"`
	Really bool   `json:"really"`
	ID     string `json:"id"`
}

// maxText is how long a text among the parameters may be, in bytes.
const maxText = 4096

// readParams reads the parameters of a call. Members that the Packager does not know are errors.
func readParams(raw json.RawMessage) (a params, err error) {
	if err := jsonrpc.DecodeParams(raw, &a); err != nil {
		return a, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	for _, text := range []struct{ name, value string }{
		{"package", a.Package}, {"version", a.Version}, {"architecture", a.Architecture}, {"operation", a.Operation}, {"id", a.ID},
	} {
		if len(text.value) > maxText {
			return a, fmt.Errorf("%w: %q must have at most %d bytes, and has %d", ErrBadRequest, text.name, maxText, len(text.value))
		}
	}
	return a, nil
}

// withPackage returns the function of a method that begins something with one package and
// returns null.
func withPackage(serve func(*Packager, params) error) func(context.Context, *Packager, shell.Call) (any, error) {
	return func(_ context.Context, p *Packager, c shell.Call) (any, error) {
		a, err := readParams(c.Params)
		if err != nil {
			return nil, err
		}
		if a.Package == "" {
			return nil, fmt.Errorf("%w: package is missing", ErrBadRequest)
		}
		return nil, serve(p, a)
	}
}

// request returns the request that the parameters make.
func (a params) request(verb records.Verb) records.Request {
	r := records.Request{
		ID: a.Operation, Verb: verb, Version: a.Version, Architecture: a.Architecture,
		Replace: a.Replace, Downgrade: a.Downgrade, Grant: a.Grant,
		Drain: a.Drain, Discard: a.Discard, Force: a.Force, Purge: a.Purge,
	}
	if isInstall(verb) {
		r.Source = a.Package
	}
	return r
}

// serveList returns the packages that the index names, or all, each on one line of a list.
func serveList(_ context.Context, p *Packager, c shell.Call) (any, error) {
	all := []summary{}
	for _, record := range p.records.All() {
		if c.Index == "" || c.Index == record.Name {
			one := summaryOf(record)
			one.Wish = p.unfulfilledWish(record.Name)
			all = append(all, one)
		}
	}
	return all, nil
}

// serveShow returns all that is known of one package.
func serveShow(_ context.Context, p *Packager, c shell.Call) (any, error) {
	a, err := readParams(c.Params)
	if err != nil {
		return nil, err
	}
	if a.Package == "" {
		a.Package = c.Index
	}
	record, found := p.records.Get(a.Package)
	if !found {
		return nil, fmt.Errorf("%w: %s", ErrUnknown, a.Package)
	}
	return p.details(record), nil
}

// serveHistory returns the operations that have ended, of one package or of all, oldest first.
func serveHistory(_ context.Context, p *Packager, c shell.Call) (any, error) {
	a, err := readParams(c.Params)
	if err != nil {
		return nil, err
	}
	ended, err := p.records.History(a.Package)
	all := []historyLine{}
	for _, e := range ended {
		all = append(all, historyLineOf(e))
	}
	return all, err
}

// serveBrowse returns the catalogue as it was last read.
func serveBrowse(_ context.Context, p *Packager, _ shell.Call) (any, error) {
	return p.browse()
}

// serveCentral returns the wishes of the central repository and what became of them.
func serveCentral(_ context.Context, p *Packager, _ shell.Call) (any, error) {
	return p.viewOfCentral()
}

// serveLook asks for a look at the central repository, and returns null.
func serveLook(_ context.Context, p *Packager, _ shell.Call) (any, error) {
	p.lookSoon()
	return nil, nil //nolint:nilnil // the result is null
}

// serveInstall begins to install a package: an archive or a directory of this machine by its
// absolute path, an artifact of a registry by its address, or a name of the catalogue.
func serveInstall(_ context.Context, p *Packager, c shell.Call) (any, error) {
	a, err := readParams(c.Params)
	if err != nil {
		return nil, err
	}
	return nil, p.Install(a.request(records.Install))
}

// serveUpgrade is serveInstall for a package that is installed. With its name alone it gets the
// newest version from where it came.
func serveUpgrade(_ context.Context, p *Packager, c shell.Call) (any, error) {
	a, err := readParams(c.Params)
	if err != nil {
		return nil, err
	}
	record, found := p.records.Get(a.Package)
	if !found && !oci.IsReference(a.Package) && !filepath.IsAbs(a.Package) {
		return nil, fmt.Errorf("%w: %s; install it first", ErrUnknown, a.Package)
	}
	r := a.request(records.Upgrade)
	if found && record.Serving != nil && record.Serving.Origin != records.Official {
		return nil, fmt.Errorf("%w: %s came from %s; name the archive, directory or address of the new version", ErrBadRequest, a.Package, record.Serving.Source)
	}
	return nil, p.Install(r)
}

func serveUninstall(p *Packager, a params) error {
	return p.Uninstall(a.Package, a.request(records.Uninstall))
}

func serveEnable(p *Packager, a params) error {
	return p.begin(a.Package, a.request(records.Enable))
}

func serveDisable(p *Packager, a params) error {
	return p.begin(a.Package, a.request(records.Disable))
}

func serveRetry(p *Packager, a params) error {
	return p.Retry(a.Package, a.request(records.Upgrade))
}

// liftsRefusal reports whether the parameters have an option that lifts a refusal of an
// installation. Of wrong parameters it does not: the method refuses them.
func liftsRefusal(raw json.RawMessage) bool {
	a, err := readParams(raw)
	return err == nil && (a.Replace || a.Downgrade || a.Grant)
}

func serveRollback(p *Packager, a params) error {
	return p.begin(a.Package, a.request(records.Rollback))
}

// serveSynchronize begins to read the catalogue again, and returns null.
func serveSynchronize(_ context.Context, p *Packager, _ shell.Call) (any, error) {
	return nil, p.synchronizeCatalogue()
}
