package controller

import (
	"context"
	"encoding/json"
	"errors"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// introspectionMethods returns the methods exists, versions and rpc.discover, which
// describe what a callsign serves.
func introspectionMethods() []method {
	return []method{
		{
			name: "exists", access: access.Read, form: objectOrOther, missingParam: thunder.InvalidParameter,
			params: []parameter{{name: "method", doc: "the name of the method"}},
			result: true, returns: "true or false; 0 or 22 if params are a bare name, as old clients send it",
			doc:    "Reports whether the callsign has the method.",
			errors: []thunder.ErrorNumber{thunder.ParseFailure, thunder.CallNotActive, thunder.CallHibernated, thunder.TimedOut},
			serve:  serveExists,
		},
		{
			name: "versions", access: access.Read, form: property,
			result: []interfaceVersion{}, returns: "the versions of the interfaces that the host itself serves under the callsign",
			doc:   "The versions of the interfaces.",
			serve: serveVersions,
		},
		{
			name: jsonrpc.DiscoverMethod, access: access.Read, form: property,
			result: json.RawMessage{}, returns: "an OpenRPC document",
			doc:   "Describes what the host itself serves under the callsign.",
			serve: serveDiscover,
		},
	}
}

// serveExists answers whether the callsign has a method: with a boolean, or, if the
// parameters are a bare name as old clients send it, with 0 or Thunder's number 22.
func serveExists(ctx context.Context, r request) (any, error) {
	name, asked := r.args["method"]
	if !asked && r.raw != nil {
		if err := json.Unmarshal(r.raw, &name); err != nil {
			return nil, thunder.NewError(thunder.ParseFailure, errors.New("params are neither an object nor the name of a method"))
		}
	}
	exists, err := r.hasMethod(ctx, name)
	switch {
	case err != nil:
		return nil, thunder.WithCallNumber(err)
	case asked:
		return exists, nil
	case exists:
		return 0, nil
	}
	return thunder.UnknownKey, nil
}

// hasMethod reports whether the instance has the method: one that the host serves for
// it, or one of the plugin's own. The methods of state control count only while the
// instance is active.
func (r request) hasMethod(ctx context.Context, name string) (bool, error) {
	m, shared := r.findCommonMethod(ctx, name)
	switch {
	case name == "":
		return false, nil
	case shared && (m.offeredFor == nil || r.shell.State() == shell.Activated):
		return true, nil
	}
	if r.shell.Callsign() == configs.ControllerCallsign {
		_, own := r.front.methods[name]
		return own, nil
	}
	return r.shell.Exists(ctx, name)
}

// interfaceVersion is the version of one of Thunder's interfaces.
type interfaceVersion struct {
	Name string `json:"name"`
	shell.Version
}

// serveVersions answers with the versions of the Controller's interfaces; for other
// callsigns with an empty list.
func serveVersions(_ context.Context, r request) (any, error) {
	versions := []interfaceVersion{}
	if r.shell.Callsign() == configs.ControllerCallsign {
		for _, name := range []string{
			"JConfiguration", "JDiscovery", "JSystem", "JLifeTime", "JMetadata", "JSubsystems", "JEvents",
		} {
			versions = append(versions, interfaceVersion{name, shell.Version{Major: 1}})
		}
	}
	return versions, nil
}
