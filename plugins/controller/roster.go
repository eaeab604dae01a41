package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"dormouse/internal/jsonrpc"
	"dormouse/shell"
	"dormouse/supervisor"
)

// rosterMethods change which instances there are and how they are configured.
func rosterMethods() []method {
	one := []parameter{{name: "callsign", optional: true, doc: "the instance, \"\" the Controller alone; all when absent"}}
	return []method{
		{
			name: "clone", missing: badRequest,
			params: []parameter{
				{name: "callsign", doc: "the instance whose configuration is taken"},
				{name: "newcallsign", doc: "the callsign of the new instance"},
			},
			result: "", returns: "the new callsign",
			doc:    "Makes a deactivated instance of the same program; it outlives a restart of the host.",
			errors: []number{unknownKey, privilegedRequest, duplicateKey, general, notSupported},
			serve:  serveClone,
		},
		{
			name: "destroy", missing: badRequest, returns: "once nothing is left of it",
			params: []parameter{{name: "callsign", doc: "the instance"}},
			doc:    "Ends a clone for good, with all that is kept of it; for any other instance it does nothing.",
			errors: []number{unknownKey, privilegedRequest, general, illegalState, inProgress, notSupported},
			serve:  serveDestroy,
		},
		{
			name: "configuration", access: variable, index: "the instance",
			result: json.RawMessage{}, returns: "the plugin's own configuration, null when it has none",
			doc:    "The plugin's own configuration; with params, an object, it is replaced until the host ends, unless persist follows.",
			errors: []number{unknownKey, badRequest, incompleteConfig, general, notSupported},
			serve:  serveConfiguration,
		},
		{
			name: "persist", aliases: []string{"storeconfig"}, params: one, returns: "once it is on disk",
			doc:    "Keeps changes of configurations across restarts of the host.",
			errors: []number{general},
			serve:  serveKept((*supervisor.Supervisor).Persist),
		},
		{
			name: "restore", params: one, returns: "once it is on disk",
			doc:    "Forgets changes of configurations: the next activation sees what the files say.",
			errors: []number{general},
			serve:  serveKept((*supervisor.Supervisor).Restore),
		},
		{
			name: "reload", result: []string{}, returns: "one line for each instance that was changed",
			doc:    "Reads the configuration files again and changes what differs.",
			errors: []number{general, notSupported},
			serve:  serveReload,
		},
	}
}

func serveClone(ctx context.Context, r request) (any, error) {
	callsign, fresh := r.args["callsign"], r.args["newcallsign"]
	if callsign == Callsign || fresh == "" {
		return nil, &fault{number: privilegedRequest}
	}
	if err := r.front.supervisor.Clone(ctx, callsign, fresh); err != nil {
		return nil, settle(err, general, unknownKey, duplicateKey, notSupported)
	}
	return fresh, nil
}

func serveDestroy(ctx context.Context, r request) (any, error) {
	if r.args["callsign"] == Callsign {
		return nil, &fault{number: privilegedRequest}
	}
	err := r.front.supervisor.Destroy(ctx, r.args["callsign"])
	return nil, settle(err, general, unknownKey, illegalState, inProgress, notSupported)
}

func serveConfiguration(ctx context.Context, r request) (any, error) {
	if r.raw != nil {
		return nil, r.configure(ctx)
	}
	sh, ok := r.front.supervisor.Shell(r.index)
	if !ok {
		return nil, &fault{number: unknownKey}
	}
	if len(sh.Config().Configuration) == 0 {
		return nil, nil
	}
	return sh.Config().ConfigurationJSON(), nil
}

func (r request) configure(ctx context.Context) error {
	sh, ok := r.front.supervisor.Shell(r.index)
	_, wrong := jsonrpc.Fields(r.raw)
	switch {
	case r.index == "":
		return &fault{badRequest, errors.New("cannot configure: name the instance, as in configuration@Callsign")}
	case !ok:
		return &fault{number: unknownKey}
	case wrong != nil:
		return &fault{incompleteConfig, fmt.Errorf("a configuration is a JSON object: %w", wrong)}
	case sh.Callsign() == Callsign || sh.State() == shell.Activated:
		return &fault{general, fmt.Errorf("cannot configure: %s is active, deactivate it first", r.index)}
	}
	return settle(r.front.supervisor.Configure(ctx, r.index, r.raw), general, unknownKey, incompleteConfig, notSupported)
}

// serveKept is what persist and restore have in common: all that goes wrong has
// one number.
func serveKept(do func(*supervisor.Supervisor, context.Context, string) error) func(context.Context, request) (any, error) {
	return func(ctx context.Context, r request) (any, error) {
		callsign, given := r.args["callsign"]
		if given && callsign == "" {
			callsign = Callsign
		}
		return nil, settle(do(r.front.supervisor, ctx, callsign), general)
	}
}

func serveReload(ctx context.Context, r request) (any, error) {
	if r.front.options.Reload == nil {
		return nil, &fault{notSupported, errors.New("this host reads its configuration only once")}
	}
	changed, err := r.front.options.Reload(ctx)
	if err != nil {
		return nil, settle(err, general)
	}
	return append([]string{}, changed...), nil
}
