package packager

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"dormouse/plugins/packager/packagerpb"
)

// Every member of a JSON result is a field of the gRPC message that stands for it, and every
// field of a gRPC request a parameter.
func TestGRPCHasTheSameMembers(t *testing.T) {
	at := time.Unix(1, 0).UTC()
	list := summary{Name: "p", Phase: "x", Target: "y", Reason: "z", Since: at, Wish: "w"}
	for _, result := range []struct {
		json    any
		field   string
		message proto.Message
	}{
		{[]summary{list}, "packages", &packagerpb.ListResponse{}},
		{details{
			summary: list, Operation: &operationView{Source: "x", Target: "x", By: "x", Begun: at, Done: 1, Total: 2},
			Failure: &failureView{Version: "x", Log: []string{"x"}, Options: []string{"x"}, At: at}, Versions: []versionView{{Source: "x", Key: "x", Installed: at}},
			Instances: []instanceView{{"P", "activated"}}, Flows: []string{"x"}, Provides: []string{"x"}, Uses: []string{"x"}, Missing: []string{"x"}, Verbs: []string{"x"},
		}, "", &packagerpb.PackageDetails{}},
		{[]historyLine{{From: "x", To: "x", Source: "x", By: "x", Reason: "x", Begun: at, Ended: at}}, "operations", &packagerpb.HistoryResponse{}},
		{centralView{LastLook: &at, Error: "x", Wishes: []wishView{{Published: at, Tries: 1, Reason: "x"}}}, "", &packagerpb.CentralResponse{}},
		{[]string{"x"}, "lines", &packagerpb.SyncResponse{}},
		{[]trashLine{{"x", "x", at.Format(time.RFC3339)}}, "trashed", &packagerpb.TrashResponse{}},
	} {
		raw, err := json.Marshal(result.json)
		if err != nil {
			t.Fatal(err)
		}
		if result.field != "" {
			raw = fmt.Appendf(nil, `{%q:%s}`, result.field, raw)
		}
		if err := protojson.Unmarshal(raw, result.message); err != nil {
			t.Errorf("%T: %v", result.message, err)
		}
	}
	for _, request := range []proto.Message{
		&packagerpb.InstallRequest{Package: "x", Version: "x", Architecture: "x", Operation: "x", Replace: true, Downgrade: true, Grant: true},
		&packagerpb.UninstallRequest{Package: "x", Operation: "x", Drain: true, Discard: true, Force: true, Purge: true},
		&packagerpb.PackageRequest{Package: "x", Operation: "x"}, &packagerpb.RetryRequest{Package: "x", Operation: "x", Replace: true, Downgrade: true, Grant: true},
		&packagerpb.HistoryRequest{Package: "x"},
		&packagerpb.SyncRequest{Dryrun: true, Really: true}, &packagerpb.RestoreRequest{Package: "x", Id: "x"},
	} {
		raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(request)
		if err == nil {
			_, err = readParams(raw)
		}
		if err != nil {
			t.Errorf("%T: %v", request, err)
		}
	}
	twins := map[string]bool{"get": true} // which is another name of show
	for _, method := range packagerpb.Packager_ServiceDesc.Methods {
		name := strings.ToLower(method.MethodName)
		twins[name] = true
		if _, ok := methods[name]; !ok {
			t.Errorf("JSON-RPC has no %s", method.MethodName)
		}
	}
	for name := range methods {
		if !twins[name] {
			t.Errorf("gRPC has no %s", name)
		}
	}
}
