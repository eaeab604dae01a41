package host

import (
	"bytes"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	"dormouse/configs"
	"dormouse/shell/shellpb"
)

// The role of each gRPC method is that of a JSON-RPC method which there is: the host's own
// user may call all of them.
func TestEveryNativeMethodHasRole(t *testing.T) {
	o := PrivateOptions(t.TempDir(), zerolog.Nop())
	h, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- h.Communicator.ServeNative(l) }()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	methods := 0
	for _, name := range []protoreflect.FullName{"dormouse.controller.v1.Controller", "dormouse.shell.v1.Shell", "dormouse.statecontrol.v1.StateControl"} {
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			t.Fatal(err)
		}
		all := found.(protoreflect.ServiceDescriptor).Methods() //nolint:errcheck // the name is a service's
		for i := range all.Len() {
			if all.Get(i).IsStreamingServer() {
				continue
			}
			methods++
			ctx := metadata.AppendToOutgoingContext(t.Context(), shellpb.CallsignKey, "Nothing")
			err := conn.Invoke(ctx, "/"+string(name)+"/"+string(all.Get(i).Name()), &emptypb.Empty{}, &emptypb.Empty{})
			if strings.Contains(status.Convert(err).Message(), "is not for clients") {
				t.Errorf("%s of %s is refused to root: %v", all.Get(i).Name(), name, err)
			}
		}
	}
	if methods < 20 {
		t.Errorf("only %d methods were called", methods)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := h.StopPluginsAndCommunicator(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := h.CleanUpAndClose(false); err != nil {
		t.Error(err)
	}
}

// Each class of built-ins says which role its methods need.
func TestEveryBuiltinHasRoles(t *testing.T) {
	h := &Host{}
	for name, class := range h.builtins() {
		if class.backend == nil || class.access == nil {
			t.Errorf("the class %s lacks a backend or its roles", name)
		}
	}
}

// The log warns of the key open at the start, and when a reload changes it.
func TestOpenIsWarnedOf(t *testing.T) {
	var log bytes.Buffer
	expect := func(when string, lines int) {
		t.Helper()
		if got := strings.Count(log.String(), "every user of this machine has this role"); got != lines {
			t.Errorf("%s: %d lines in\n%s", when, got, log.String())
		}
		log.Reset()
	}
	o := PrivateOptions(t.TempDir(), zerolog.New(&log))
	o.Config.Host.Open = configs.RoleCall
	h, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	expect("at the start", 1)
	changed := o.Config
	h.ReplaceAccessRules(changed)
	expect("nothing has changed", 0)
	changed.Host.Open = configs.RoleAdmin
	h.ReplaceAccessRules(changed)
	expect("a higher role", 1)
	changed.Host.Open = ""
	h.ReplaceAccessRules(changed)
	expect("closed", 0)
	if err := errors.Join(h.StopPluginsAndCommunicator(t.Context()), h.CleanUpAndClose(false)); err != nil {
		t.Error(err)
	}
}
