package communicator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"dormouse/plugins/access"
	"dormouse/plugins/controller/controllerpb"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// neededRoles is the role that each method needs, by service and method.
var neededRoles = map[string]map[string]access.Role{
	"dormouse.controller.v1.Controller": {
		"Activate": access.Operate, "Deactivate": access.Operate, "Restart": access.Operate, "Unavailable": access.Operate, "Suspend": access.Operate,
		"Resume": access.Operate, "Hibernate": access.Operate, "Acknowledge": access.Operate, "RestoreImage": access.Operate, "Losses": access.Read,
		"Clone": access.Admin, "Destroy": access.Admin, "Configure": access.Admin, "Persist": access.Admin, "Restore": access.Admin, "Reload": access.Admin,
		"Services": access.Read, "Watch": access.Read, "Subsystems": access.Read, "Version": access.Read,
	},
	"dormouse.packager.v1.Packager": {
		"List": access.Read, "Show": access.Read, "History": access.Read, "Browse": access.Read, "Trash": access.Read, "Central": access.Read, "Look": access.Call,
		"Enable": access.Operate, "Disable": access.Operate, "Rollback": access.Operate, "Retry": access.Operate, "Cancel": access.Operate,
		"Install": access.Admin, "Upgrade": access.Admin, "Uninstall": access.Admin, "Synchronize": access.Admin, "Sync": access.Admin, "Restore": access.Admin,
	},
	"dormouse.shell.v1.Shell": {
		"Status": access.Read, "Watch": access.Read, "Interfaces": access.Read, "Subsystems": access.Read, "WatchSubsystems": access.Read,
		"Operate": access.Operate, "SetSubsystem": access.Operate, "Configure": access.Admin, "Notify": access.Call,
	},
	"dormouse.shell.v1.Types":               {"Find": access.Read, "Open": access.Read},
	"dormouse.shell.v1.Virtuals":            {"CreateVirtual": access.Operate, "UpdateVirtual": access.Operate, "RemoveVirtual": access.Operate, "ListVirtual": access.Operate},
	"dormouse.shell.v1.Flows":               {"Publish": access.Call, "PublishStream": access.Call},
	"dormouse.statecontrol.v1.StateControl": {"State": access.Read, "Watch": access.Read, "Request": access.Operate},
	"grpc.health.v1.Health":                 {"Check": access.Read, "Watch": access.Read, "List": access.Read},

	"grpc.reflection.v1.ServerReflection":      {"ServerReflectionInfo": access.Read},
	"grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": access.Read},
}

// jsonRPCRoles is the role of the JSON-RPC methods, as plugins/host passes them.
func jsonRPCRole(method string, write bool) access.Role {
	switch method {
	case "activate", "deactivate", "restart", "unavailable", "suspend", "resume", "hibernate", "acknowledge", "restoreimage", "statecontrol::request":
		return access.Operate
	case "clone", "destroy", "persist", "restore", "reload":
		return access.Admin
	case "configuration":
		if write {
			return access.Admin
		}
		return access.Read
	case "status", "services", "losses", "subsystems", "version", "exists", "statecontrol::state":
		return access.Read
	}
	return access.None
}

// jsonRPCTarget returns what a call of a JSON-RPC method is about, as plugins/host passes it.
func jsonRPCTarget(callsign, method string) access.Target {
	t := access.Target{Callsign: callsign, Method: method}
	if method == "status" {
		t.Method, t.Aliases = "services", []string{"status"}
	}
	return t
}

// withRole returns a client that has that role; the host does not know one with the role None.
func withRole(role access.Role) access.Client {
	if role == access.None {
		return access.Client{Address: "192.0.2.1:4242"}
	}
	return access.Client{User: &access.User{UID: 60000 + int(role)}, Loopback: true}
}

// ask calls a method about an instance and returns its first answer.
func ask(t *testing.T, conn *grpc.ClientConn, method, callsign string, question, answer proto.Message) error {
	t.Helper()
	return askWithContext(t.Context(), conn, method, callsign, question, answer)
}

func askWithContext(ctx context.Context, conn *grpc.ClientConn, method, callsign string, question, answer proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if callsign != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, shellpb.CallsignKey, callsign)
	}
	stream, err := conn.NewStream(ctx, bothWays, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(question); err != nil {
		return stream.RecvMsg(answer)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(answer)
}

// begin calls a method of a plugin with an empty message, and returns an error unless the
// call is answered or goes on.
func begin(t *testing.T, conn *grpc.ClientConn, method, callsign string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), shellpb.CallsignKey, callsign), 10*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, bothWays, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&emptypb.Empty{}); err != nil {
		return stream.RecvMsg(&emptypb.Empty{})
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if header, err := stream.Header(); err == nil && header != nil {
		return nil // it was begun
	}
	return stream.RecvMsg(&emptypb.Empty{})
}

// refusedRole returns the role that a refusal names, empty if err is none.
func refusedRole(err error) string {
	_, rest, found := strings.Cut(status.Convert(err).Message(), "needs the role ")
	if !found || shellpb.ErrorDetailOf(err).GetCode() != 24 {
		return ""
	}
	role, _, _ := strings.Cut(rest, ",")
	return role
}

// setCallsigns names instances in a message that has room for them.
func setCallsigns(m *dynamicpb.Message) *dynamicpb.Message {
	for _, name := range []protoreflect.Name{"callsign", "new_callsign", "service"} {
		if f := m.Descriptor().Fields().ByName(name); f != nil {
			m.Set(f, protoreflect.ValueOfString("A"))
		}
	}
	return m
}

// callMethod calls a method of the host about the instance A.
func callMethod(ctx context.Context, conn *grpc.ClientConn, service, method string) error {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	if err != nil {
		return err
	}
	types := d.(protoreflect.MethodDescriptor) //nolint:errcheck // the name is a method's
	return askWithContext(ctx, conn, "/"+service+"/"+method, "A", setCallsigns(dynamicpb.NewMessage(types.Input())), dynamicpb.NewMessage(types.Output()))
}

// Every method of every service is refused to every role below the one that it needs, and
// to no other.
func TestEveryMethodAndRole(t *testing.T) {
	h := newGuardedHost(t)
	for role := access.None; role <= access.Admin; role++ {
		conn := h.connect(withRole(role))
		for service, methods := range h.natives[0].server.GetServiceInfo() {
			for _, method := range methods.Methods {
				needed, listed := neededRoles[service][method.Name]
				if !listed {
					t.Errorf("this test does not say which role %s of %s needs", method.Name, service)
				}
				err := callMethod(t.Context(), conn, service, method.Name)
				want, code := "", codes.PermissionDenied
				if role < needed {
					want = needed.String()
				}
				if role == access.None {
					code = codes.Unauthenticated
				}
				if got := refusedRole(err); got != want || want != "" && status.Code(err) != code {
					t.Errorf("%s of %s, called with the role %s: %v", method.Name, service, role, err)
				}
			}
		}
		if err := ask(t, conn, "/grpc.health.v1.Health/Check", "", &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
			t.Errorf("the host's own health, asked with the role %s: %v", role, err)
		}
		for _, method := range []string{"/tv.Tuner/Tune", shellpb.Dispatcher_Invoke_FullMethodName, shellpb.Dispatcher_Watch_FullMethodName, shellpb.Dispatcher_Exists_FullMethodName} {
			needed := access.Call
			if method == shellpb.Dispatcher_Exists_FullMethodName {
				needed = access.Read
			}
			for _, callsign := range []string{"A", "Nothing"} {
				err := begin(t, conn, method, callsign)
				wantRefused := role < needed && (callsign == "A" || role == access.None)
				if (refusedRole(err) != "") != wantRefused {
					t.Errorf("%s of the plugin %s, called with the role %s: %v", method, callsign, role, err)
				}
			}
		}
	}
	for method := range rules {
		service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
		if _, listed := neededRoles[service][name]; !listed {
			t.Errorf("there is a rule for %s, which no service has", method)
		}
	}
}

// A plugin on its host socket may do all to itself, and to others what a row says.
func TestRoleOfPlugins(t *testing.T) {
	h := newGuardedHost(t)
	operate := shellpb.OperateRequest{Operation: shellpb.Operation_OPERATION_UNAVAILABLE}
	for _, test := range []struct {
		plugin, about, want string // the role that is missing
	}{
		{"A", "", ""}, {"A", "A", ""}, {"A", "B", "operate"}, {"Trusted", "B", ""},
	} {
		err := ask(t, h.plugin(test.plugin), shellpb.Shell_Operate_FullMethodName, test.about, &operate, &shellpb.OperateResponse{})
		if got := refusedRole(err); got != test.want {
			t.Errorf("the plugin %s operates %q: %v", test.plugin, test.about, err)
		}
		if test.want != "" && !strings.Contains(err.Error(), `[[access]] with plugin = "A" and role = "operate"`) {
			t.Errorf("the refusal does not say what to do: %v", err)
		}
	}
	for about, want := range map[string]string{"A": "hunter2", "B": "{}"} {
		var st shellpb.StatusResponse
		if err := ask(t, h.plugin("A"), shellpb.Shell_Status_FullMethodName, about, &shellpb.StatusRequest{}, &st); err != nil || !strings.Contains(string(st.GetConfiguration()), want) {
			t.Errorf("the plugin A sees of %s %v, %v", about, &st, err)
		}
	}
}

// A row for some instances or methods gives the role for those alone.
func TestRoleForSomeInstancesAndMethods(t *testing.T) {
	h := newGuardedHost(t)
	one := h.connect(access.Client{User: &access.User{UID: 61000}})
	for _, test := range []struct {
		method            string
		question          proto.Message
		callsign, missing string // the instance of the call, and the role that is missing
	}{
		{controllerpb.Controller_Destroy_FullMethodName, &controllerpb.InstanceRequest{Callsign: "A"}, "", ""},
		{controllerpb.Controller_Destroy_FullMethodName, &controllerpb.InstanceRequest{Callsign: "B"}, "", "admin"},
		{controllerpb.Controller_Clone_FullMethodName, &controllerpb.CloneRequest{Callsign: "A", NewCallsign: "C"}, "", "admin"},
		{controllerpb.Controller_Clone_FullMethodName, &controllerpb.CloneRequest{Callsign: "C", NewCallsign: "A"}, "", "admin"},
		{controllerpb.Controller_Persist_FullMethodName, &controllerpb.InstanceRequest{}, "", "admin"},
		{controllerpb.Controller_Reload_FullMethodName, &controllerpb.ReloadRequest{}, "", "admin"},
		{shellpb.Shell_Operate_FullMethodName, &shellpb.OperateRequest{}, "A", ""},
		{shellpb.Shell_Operate_FullMethodName, &shellpb.OperateRequest{}, "B", "operate"},
		{shellpb.Dispatcher_Invoke_FullMethodName, &shellpb.InvokeRequest{Method: "echo"}, "A", ""},
		{shellpb.Dispatcher_Invoke_FullMethodName, &shellpb.InvokeRequest{Method: "echo"}, "B", "call"},
	} {
		err := ask(t, one, test.method, test.callsign, test.question, &emptypb.Empty{})
		if got := refusedRole(err); got != test.missing {
			t.Errorf("%s %v of %q: %v", test.method, test.question, test.callsign, err)
		}
	}
	some := h.connect(access.Client{User: &access.User{UID: 61001}})
	for method, want := range map[string]string{"allowed": "", "allowedToo": "", "other": "call"} {
		err := ask(t, some, shellpb.Dispatcher_Invoke_FullMethodName, "A", &shellpb.InvokeRequest{Method: method}, &shellpb.InvokeResponse{})
		if got := refusedRole(err); got != want {
			t.Errorf("the method %s: %v", method, err)
		}
	}
}

// Readers see neither configuration nor paths; operators see both.
func TestReadersSeeNoDetails(t *testing.T) {
	h := newGuardedHost(t)
	for role, sees := range map[access.Role]bool{access.Read: false, access.Call: false, access.Operate: true} {
		conn := h.connect(withRole(role))
		var one shellpb.StatusResponse
		if err := ask(t, conn, shellpb.Shell_Status_FullMethodName, "A", &shellpb.StatusRequest{}, &one); err != nil {
			t.Fatal(err)
		}
		var all controllerpb.ServicesResponse
		if err := ask(t, conn, controllerpb.Controller_Services_FullMethodName, "", &controllerpb.ServicesRequest{}, &all); err != nil {
			t.Fatal(err)
		}
		for _, shown := range []string{one.String(), all.String()} {
			for _, secret := range []string{"hunter2", "/opt/secret", "/var/lib/secret"} {
				if strings.Contains(shown, secret) != sees {
					t.Errorf("a client with the role %s is shown %s", role, shown)
				}
			}
		}
	}
}

// Every member of a status is known as public or as a detail, also one that is added one day.
func TestDetailsOfStatus(t *testing.T) {
	public := []protoreflect.Name{
		"callsign", "state", "control", "reason", "class", "version", "start_mode", "resumed", "preconditions", "terminations", "controls", "requires", "source", "package", "parent",
		"lost", // without its details, see lossMessage
	}
	details := []protoreflect.Name{"locator", "configuration", "error", "paths"} // see statusMessage
	fields := (&shellpb.StatusResponse{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if name := fields.Get(i).Name(); !slices.Contains(public, name) && !slices.Contains(details, name) {
			t.Errorf("this test does not say whether readers may see %s", name)
		}
	}
}

// Errors of the host in a forwarded call have no details for a client that may not see them;
// a plugin's own status stays.
func TestErrorsWithoutDetails(t *testing.T) {
	wake := fmt.Errorf("%w: cannot open /var/lib/secret", shell.ErrUnavailable)
	if got := statusFromForwardedCall(hostErrorWithoutDetails(wake)); status.Code(got) != codes.Unavailable || strings.Contains(got.Error(), "secret") {
		t.Errorf("an error of the host: %v", got)
	}
	own := status.Error(codes.DataLoss, "its own words")
	if got := statusFromForwardedCall(hostErrorWithoutDetails(own)); got.Error() != own.Error() {
		t.Errorf("a status of the plugin: %v", got)
	}
	if got := hostErrorWithoutDetails(io.EOF); !errors.Is(got, io.EOF) {
		t.Errorf("the end of a stream: %v", got)
	}
}

// Each call that changes something leaves one line, as do refusals; others leave none.
func TestAuditOfCalls(t *testing.T) {
	h := newGuardedHost(t)
	configure := &controllerpb.ConfigureRequest{Callsign: "A", Configuration: []byte(`{"password":"hunter3"}`)}
	for _, test := range []struct {
		role     access.Role
		method   string
		question proto.Message
		want     string // "" for no line
	}{
		{access.Admin, controllerpb.Controller_Configure_FullMethodName, configure, `"audit":"grpc","client":"user 60004 (60004)","from":"a unix socket","method":"configuration","instance":"A","result":"done"`},
		{access.Operate, controllerpb.Controller_Configure_FullMethodName, configure, `"method":"configuration","instance":"A","result":"refused","needed":"admin","has":"operate"`},
		{access.Operate, shellpb.Shell_Operate_FullMethodName, &shellpb.OperateRequest{Operation: shellpb.Operation_OPERATION_SUSPEND}, `"method":"suspend","instance":"A","result":"`},
		{access.Admin, shellpb.Shell_Status_FullMethodName, &shellpb.StatusRequest{}, ""},
		{access.Admin, shellpb.Dispatcher_Invoke_FullMethodName, &shellpb.InvokeRequest{Method: "echo"}, ""},
	} {
		h.log.take()
		_ = ask(t, h.connect(withRole(test.role)), test.method, "A", test.question, &emptypb.Empty{})
		got := h.log.take()
		if !strings.Contains(got, test.want) || strings.Count(got, "\n") != min(1, len(test.want)) || strings.Contains(got, "hunter3") {
			t.Errorf("%s by a client with the role %s leaves\n%s", test.method, test.role, got)
		}
	}
}

// The methods of a built-in need the roles of its own table; one without a role is refused.
func TestRolesOfBuiltins(t *testing.T) {
	h := newGuardedHost(t)
	for role := access.None; role <= access.Admin; role++ {
		conn := h.connect(withRole(role))
		for method, needed := range map[string]access.Role{"see": access.Read, "set": access.Operate, "unlisted": access.None} {
			h.log.take()
			err := ask(t, conn, shellpb.Dispatcher_Invoke_FullMethodName, "Inside", &shellpb.InvokeRequest{Method: method}, &shellpb.InvokeResponse{})
			isRefused := err != nil && shellpb.ErrorDetailOf(err).GetCode() == 24
			if isRefused != (role < needed || needed == access.None) {
				t.Errorf("%s, called with the role %s: %v", method, role, err)
			}
			lines := h.log.take()
			isLogged := strings.Contains(lines, `"instance":"Inside","result":"`) && !strings.Contains(lines, `"result":"refused"`)
			if isLogged != (method == "set" && !isRefused) {
				t.Errorf("%s, called with the role %s, leaves %s", method, role, lines)
			}
		}
		for method, needed := range map[string]access.Role{shellpb.Dispatcher_Exists_FullMethodName: access.Read, shellpb.Dispatcher_Watch_FullMethodName: access.Read} {
			if err := begin(t, conn, method, "Inside"); (refusedRole(err) != "") != (role < needed) {
				t.Errorf("%s of a built-in, called with the role %s: %v", method, role, err)
			}
		}
	}
}
