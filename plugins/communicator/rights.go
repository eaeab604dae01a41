package communicator

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	"dormouse/plugins/access"
	"dormouse/plugins/controller/controllerpb"
	"dormouse/plugins/packager/packagerpb"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol/statecontrolpb"
)

// rights is what a call of one of the host's services needs.
type rights struct {
	// isFree says that every client may make the call.
	isFree bool
	needed access.Role
	// targets is what the call is about, by the name of the JSON-RPC method that does the
	// same; without one, by the full name of the gRPC method.
	targets []access.Target
}

// rule returns what a call with that message needs. The error is for a call that does not
// say which instance it is about.
type rule func(ctx context.Context, e *endpoint, message any) (rights, error)

// rules holds the rule of every method of the host's services, by the method's full name. A
// method without one is refused.
var rules = map[string]rule{
	controllerpb.Controller_Activate_FullMethodName:     likeNamed("activate", false),
	controllerpb.Controller_Deactivate_FullMethodName:   likeNamed("deactivate", false),
	controllerpb.Controller_Restart_FullMethodName:      likeNamed("restart", false),
	controllerpb.Controller_Unavailable_FullMethodName:  likeNamed("unavailable", false),
	controllerpb.Controller_Suspend_FullMethodName:      likeNamed("suspend", false),
	controllerpb.Controller_Resume_FullMethodName:       likeNamed("resume", false),
	controllerpb.Controller_Hibernate_FullMethodName:    likeNamed("hibernate", false),
	controllerpb.Controller_Losses_FullMethodName:       likeOnHost("losses"),
	controllerpb.Controller_Acknowledge_FullMethodName:  likeNamed("acknowledge", false),
	controllerpb.Controller_RestoreImage_FullMethodName: likeNamed("restoreimage", false),
	controllerpb.Controller_Clone_FullMethodName:        likeClone,
	controllerpb.Controller_Destroy_FullMethodName:      likeNamed("destroy", false),
	controllerpb.Controller_Configure_FullMethodName:    likeNamed("configuration", true),
	controllerpb.Controller_Persist_FullMethodName:      likeNamed("persist", false),
	controllerpb.Controller_Restore_FullMethodName:      likeNamed("restore", false),
	controllerpb.Controller_Reload_FullMethodName:       likeOnHost("reload"),
	controllerpb.Controller_Services_FullMethodName:     likeOnHost("services"),
	controllerpb.Controller_Watch_FullMethodName:        likeOnHost("services"),
	controllerpb.Controller_Subsystems_FullMethodName:   likeOnHost("subsystems"),
	controllerpb.Controller_Version_FullMethodName:      likeOnHost("version"),

	packagerpb.Packager_Install_FullMethodName:     likePackager("install"),
	packagerpb.Packager_Upgrade_FullMethodName:     likePackager("upgrade"),
	packagerpb.Packager_Uninstall_FullMethodName:   likePackager("uninstall"),
	packagerpb.Packager_Enable_FullMethodName:      likePackager("enable"),
	packagerpb.Packager_Disable_FullMethodName:     likePackager("disable"),
	packagerpb.Packager_Rollback_FullMethodName:    likePackager("rollback"),
	packagerpb.Packager_Retry_FullMethodName:       likePackager("retry"),
	packagerpb.Packager_Cancel_FullMethodName:      likePackager("cancel"),
	packagerpb.Packager_List_FullMethodName:        likePackager("list"),
	packagerpb.Packager_Show_FullMethodName:        likePackager("show"),
	packagerpb.Packager_History_FullMethodName:     likePackager("history"),
	packagerpb.Packager_Synchronize_FullMethodName: likePackager("synchronize"),
	packagerpb.Packager_Central_FullMethodName:     likePackager("central"),
	packagerpb.Packager_Look_FullMethodName:        likePackager("look"),
	packagerpb.Packager_Browse_FullMethodName:      likePackager("browse"),
	packagerpb.Packager_Sync_FullMethodName:        likePackager("sync"),
	packagerpb.Packager_Trash_FullMethodName:       likePackager("trash"),
	packagerpb.Packager_Restore_FullMethodName:     likePackager("restore"),

	shellpb.Shell_Status_FullMethodName:          likeOnTarget("status", false),
	shellpb.Shell_Operate_FullMethodName:         likeOperation,
	shellpb.Shell_Configure_FullMethodName:       likeOnTarget("configuration", true),
	shellpb.Shell_Watch_FullMethodName:           likeWatch,
	shellpb.Shell_Interfaces_FullMethodName:      likeOnTarget("exists", false),
	shellpb.Shell_Subsystems_FullMethodName:      likeOnHost("subsystems"),
	shellpb.Shell_WatchSubsystems_FullMethodName: likeOnHost("subsystems"),
	// The plugin itself alone may do these; its shell service refuses all others.
	shellpb.Shell_SetSubsystem_FullMethodName: onTarget(shellpb.Shell_SetSubsystem_FullMethodName, access.Operate),
	shellpb.Shell_Notify_FullMethodName:       onTarget(shellpb.Shell_Notify_FullMethodName, access.Call),

	// What a call of the method publish of the built-in Flows needs.
	shellpb.Flows_Publish_FullMethodName:       publishing,
	shellpb.Flows_PublishStream_FullMethodName: publishing,

	statecontrolpb.StateControl_State_FullMethodName:   likeOnTarget("statecontrol::state", false),
	statecontrolpb.StateControl_Watch_FullMethodName:   likeOnTarget("statecontrol::state", false),
	statecontrolpb.StateControl_Request_FullMethodName: likeOnTarget("statecontrol::request", false),

	grpc_health_v1.Health_Check_FullMethodName: likeHealth,
	grpc_health_v1.Health_Watch_FullMethodName: likeHealth,
	grpc_health_v1.Health_List_FullMethodName:  likeOnHost("services"),

	grpc_reflection_v1.ServerReflection_ServerReflectionInfo_FullMethodName:      likeReflection,
	grpc_reflection_v1alpha.ServerReflection_ServerReflectionInfo_FullMethodName: likeReflection,
}

// like returns the rights of the JSON-RPC method, about those instances. write says that a
// variable is written.
func (e *endpoint) like(method string, write bool, callsigns ...string) rights {
	r := rights{needed: e.NeededRole(method, write)}
	for _, callsign := range callsigns {
		r.targets = append(r.targets, e.TargetOf(callsign, method))
	}
	return r
}

// likeNamed returns the rule of a method that does what the JSON-RPC method does, on the
// instance that the message names.
func likeNamed(method string, write bool) rule {
	return func(_ context.Context, e *endpoint, message any) (rights, error) {
		named, ok := message.(interface{ GetCallsign() string })
		if !ok {
			return rights{}, nil
		}
		return e.like(method, write, named.GetCallsign()), nil
	}
}

// likeOnHost returns the rule of a method that does what the JSON-RPC method does, on the
// host or all instances.
func likeOnHost(method string) rule {
	return func(_ context.Context, e *endpoint, _ any) (rights, error) { return e.like(method, false, ""), nil }
}

// likeOnTarget returns the rule of a method that does what the JSON-RPC method does, on the
// instance that the call is about.
func likeOnTarget(method string, write bool) rule {
	return func(ctx context.Context, e *endpoint, _ any) (rights, error) {
		callsign, err := e.targetCallsign(ctx)
		return e.like(method, write, callsign), err
	}
}

// onTarget returns the rule of a method without a JSON-RPC method that does the same, on the
// instance that the call is about.
func onTarget(method string, needed access.Role) rule {
	return func(ctx context.Context, e *endpoint, _ any) (rights, error) {
		callsign, err := e.targetCallsign(ctx)
		return rights{needed: needed, targets: []access.Target{{Callsign: callsign, Method: method}}}, err
	}
}

// publishing is the rule of messages for flows.
func publishing(context.Context, *endpoint, any) (rights, error) {
	return rights{needed: access.Call, targets: []access.Target{{Callsign: "Flows", Method: "publish"}}}, nil
}

// likeClone is the rule of the Controller's Clone, which is about both instances.
func likeClone(_ context.Context, e *endpoint, message any) (rights, error) {
	r, ok := message.(*controllerpb.CloneRequest)
	if !ok {
		return rights{}, nil
	}
	return e.like("clone", false, r.GetCallsign(), r.GetNewCallsign()), nil
}

// operationMethods is the JSON-RPC method of each operation.
var operationMethods = map[shellpb.Operation]string{
	shellpb.Operation_OPERATION_ACTIVATE:    "activate",
	shellpb.Operation_OPERATION_DEACTIVATE:  "deactivate",
	shellpb.Operation_OPERATION_RESTART:     "restart",
	shellpb.Operation_OPERATION_UNAVAILABLE: "unavailable",
	shellpb.Operation_OPERATION_SUSPEND:     "suspend",
	shellpb.Operation_OPERATION_RESUME:      "resume",
	shellpb.Operation_OPERATION_HIBERNATE:   "hibernate",
}

// likeOperation is the rule of the Shell's Operate. An operation that the host does not know
// needs what activate needs, and then fails.
func likeOperation(ctx context.Context, e *endpoint, message any) (rights, error) {
	r, ok := message.(*shellpb.OperateRequest)
	if !ok {
		return rights{}, nil
	}
	return likeOnTarget(cmp.Or(operationMethods[r.GetOperation()], "activate"), false)(ctx, e, message)
}

// likeWatch is the rule of the Shell's Watch, of one instance or of all.
func likeWatch(ctx context.Context, e *endpoint, message any) (rights, error) {
	if r, ok := message.(*shellpb.WatchRequest); ok && r.GetEvery() {
		return e.like("services", false, ""), nil
	}
	return likeOnTarget("services", false)(ctx, e, message)
}

// likeHealth is the rule for the health of the host, which every client may see, or of an
// instance.
func likeHealth(_ context.Context, e *endpoint, message any) (rights, error) {
	r, ok := message.(*grpc_health_v1.HealthCheckRequest)
	if !ok {
		return rights{}, nil
	}
	name := r.GetService()
	if name == "" || slices.Contains(e.hostServices, name) {
		return rights{isFree: true}, nil
	}
	callsign, _, _ := strings.Cut(name, "/")
	return e.like("status", false, callsign), nil
}

// likeReflection is the rule for the description of the host's services, or of an instance's.
// What the plugin is asked for is checked like a call of it besides.
func likeReflection(ctx context.Context, e *endpoint, _ any) (rights, error) {
	callsign, err := callsignFromMetadata(ctx)
	if callsign == "" {
		return e.like("version", false, ""), err
	}
	return e.like("exists", false, callsign), err
}
