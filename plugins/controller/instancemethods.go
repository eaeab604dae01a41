package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/supervisor"
)

// instanceMethods returns the methods that clone and destroy instances, and that
// change, keep, restore and reload configurations.
func instanceMethods() []method {
	one := []parameter{{name: "callsign", optional: true, doc: "the instance, \"\" the Controller alone; all when absent"}}
	return []method{
		{
			name: "clone", access: access.Admin, about: cloneAndSource, missingParam: thunder.BadRequest,
			params: []parameter{
				{name: "callsign", doc: "the instance whose configuration is taken"},
				{name: "newcallsign", doc: "the callsign of the new instance"},
			},
			result: "", returns: "the new callsign",
			doc:    "Makes a deactivated instance with the configuration of another, which it follows except for what is set on it; it outlives a restart of the host.",
			errors: []thunder.ErrorNumber{thunder.UnknownKey, thunder.PrivilegedRequest, thunder.DuplicateKey, thunder.General, thunder.NotSupported},
			serve:  serveClone,
		},
		{
			name: "destroy", access: access.Admin, missingParam: thunder.BadRequest, returns: "once it is deleted",
			params: []parameter{{name: "callsign", doc: "the instance"}, coldParameter()},
			doc:    "Ends a clone and deletes all that is kept of it; for any other instance it does nothing. A hibernated clone that can't be woken now stays.",
			errors: []thunder.ErrorNumber{thunder.UnknownKey, thunder.PrivilegedRequest, thunder.General, thunder.IllegalState, thunder.InProgress, thunder.NotSupported, thunder.Hibernated},
			serve:  serveDestroy,
		},
		{
			name: "configuration", access: access.Read, writeAccess: access.Admin, form: variable, index: "the instance", about: indexedInstance,
			result: json.RawMessage{}, returns: "the plugin's own configuration, null when it has none; an empty object for callers below operate",
			doc:    "The plugin's own configuration; with params, an object, it is replaced until the host ends, unless persist follows.",
			errors: []thunder.ErrorNumber{thunder.UnknownKey, thunder.BadRequest, thunder.IncompleteConfig, thunder.General, thunder.NotSupported},
			serve:  serveGetOrSetConfiguration,
		},
		{
			name: "persist", access: access.Admin, about: persistedInstance, aliases: []string{"storeconfig"}, params: one, returns: "once it is on disk",
			doc:    "Keeps changes of configurations across restarts of the host.",
			errors: []thunder.ErrorNumber{thunder.General},
			serve:  persistenceHandler((*supervisor.Supervisor).PersistConfiguration),
		},
		{
			name: "restore", access: access.Admin, about: persistedInstance, params: one, returns: "once it is on disk",
			doc:    "Forgets changes of configurations: the next activation uses the configuration files, or that of a clone's source.",
			errors: []thunder.ErrorNumber{thunder.General},
			serve:  persistenceHandler((*supervisor.Supervisor).RestoreConfiguration),
		},
		{
			name: "reload", access: access.Admin, result: []string{}, returns: "one line for each instance that was changed",
			doc:    "Reads the configuration files again and changes what differs.",
			errors: []thunder.ErrorNumber{thunder.General, thunder.NotSupported},
			serve:  serveReload,
		},
	}
}

// serveClone makes a clone of an instance, and answers with the clone's callsign.
func serveClone(ctx context.Context, r request) (any, error) {
	callsign, fresh := r.args["callsign"], r.args["newcallsign"]
	if callsign == configs.ControllerCallsign || fresh == "" {
		return nil, thunder.NewError(thunder.PrivilegedRequest, nil)
	}
	if err := r.front.supervisor.Clone(ctx, callsign, fresh); err != nil {
		return nil, renumberUnlessKept(err, thunder.General, thunder.UnknownKey, thunder.DuplicateKey, thunder.NotSupported)
	}
	return fresh, nil
}

// serveDestroy ends a clone and deletes all that is kept of it.
func serveDestroy(ctx context.Context, r request) (any, error) {
	if r.args["callsign"] == configs.ControllerCallsign {
		return nil, thunder.NewError(thunder.PrivilegedRequest, nil)
	}
	destroy := r.front.supervisor.Destroy
	if r.args.isTrue(coldParam) {
		destroy = r.front.supervisor.DestroyCold
	}
	err := destroy(ctx, r.args["callsign"])
	return nil, renumberUnlessKept(err, thunder.General, thunder.UnknownKey, thunder.IllegalState, thunder.InProgress, thunder.NotSupported, thunder.Hibernated)
}

// serveGetOrSetConfiguration answers with the plugin's own configuration, or replaces it
// if the request has parameters.
func serveGetOrSetConfiguration(ctx context.Context, r request) (any, error) {
	if r.raw != nil {
		return nil, r.replaceConfigurationIfInactive(ctx)
	}
	sh, ok := r.front.supervisor.Shell(r.index)
	if !ok {
		return nil, thunder.NewError(thunder.UnknownKey, r.front.supervisor.WhyMissing(r.index))
	}
	switch {
	case !r.seesDetailsOf(r.index):
		return json.RawMessage("{}"), nil
	case len(sh.Config().Configuration) == 0:
		return nil, nil
	}
	return sh.Config().ConfigurationJSON(), nil
}

// replaceConfigurationIfInactive replaces the plugin's own configuration of the instance
// that the index names. The instance must not be active, and the new configuration must
// be a JSON object.
func (r request) replaceConfigurationIfInactive(ctx context.Context) error {
	sh, ok := r.front.supervisor.Shell(r.index)
	_, wrong := jsonrpc.Fields(r.raw)
	switch {
	case r.index == "":
		return thunder.NewError(thunder.BadRequest, errors.New("cannot configure: name the instance, as in configuration@Callsign"))
	case !ok:
		return thunder.NewError(thunder.UnknownKey, r.front.supervisor.WhyMissing(r.index))
	case wrong != nil:
		return thunder.NewError(thunder.IncompleteConfig, fmt.Errorf("a configuration is a JSON object: %w", wrong))
	case sh.IsVirtual():
		return thunder.NewError(thunder.General, fmt.Errorf("cannot configure: %s is a virtual plugin, which its parent %s configures", r.index, sh.Parent()))
	case sh.Callsign() == configs.ControllerCallsign || sh.State() == shell.Activated:
		return thunder.NewError(thunder.General, fmt.Errorf("cannot configure: %s is active, deactivate it first", r.index))
	}
	return renumberUnlessKept(r.front.supervisor.Configure(ctx, r.index, r.raw), thunder.General, thunder.UnknownKey, thunder.IncompleteConfig, thunder.NotSupported)
}

// persistenceHandler returns the handler of a method that calls change, for the
// instance in the parameter callsign or for all. Every error gets the number General.
func persistenceHandler(change func(*supervisor.Supervisor, context.Context, string) error) func(context.Context, request) (any, error) {
	return func(ctx context.Context, r request) (any, error) {
		return nil, renumberUnlessKept(change(r.front.supervisor, ctx, persistedInstance(r)[0]), thunder.General)
	}
}

// persistedInstance returns the instance in the parameter callsign, "" for all instances if
// the caller left it out. An empty callsign is the Controller's.
func persistedInstance(r request) []string {
	callsign, given := r.args["callsign"]
	if given && callsign == "" {
		callsign = configs.ControllerCallsign
	}
	return []string{callsign}
}

// serveReload reads the configuration files again, and answers with one line for each
// instance that was changed.
func serveReload(ctx context.Context, r request) (any, error) {
	if r.front.options.Reload == nil {
		return nil, thunder.NewError(thunder.NotSupported, errors.New("this host reads its configuration only once"))
	}
	changed, err := r.front.options.Reload(ctx)
	if err != nil {
		return nil, renumberUnlessKept(err, thunder.General)
	}
	return append([]string{}, changed...), nil
}
