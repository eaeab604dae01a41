package communicator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/packager/packagerpb"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// packagerService is the gRPC service dormouse.packager.v1.Packager. Each method is the method of
// the built-in Packager of the same name: its messages have the members of the JSON as fields.
type packagerService struct {
	packagerpb.UnimplementedPackagerServer
	*endpoint
}

// likePackager returns the rule of a method that is the built-in's of that name.
func likePackager(method string) rule {
	return func(_ context.Context, e *endpoint, message any) (rights, error) {
		if e.PackagerAccess == nil {
			return rights{}, nil
		}
		c := shell.Call{Method: method}
		if request, ok := message.(proto.Message); ok {
			var err error
			if c.Params, err = paramsOf(request); err != nil {
				return rights{}, err
			}
		}
		needed, target := e.PackagerAccess(configs.PackagerCallsign, c)
		return rights{needed: needed, targets: []access.Target{target}}, nil
	}
}

// paramsOf returns a request as the parameters of the method of the built-in.
func paramsOf(request proto.Message) (json.RawMessage, error) {
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(request)
}

// invoke calls a method of the built-in and reads its result into answer: as a whole, or as the
// field of that name.
func (s packagerService) invoke(ctx context.Context, method string, request proto.Message, answer proto.Message, field string) error {
	sh, err := s.findInstance(configs.PackagerCallsign)
	if err != nil {
		return err
	}
	params, err := paramsOf(request)
	if err != nil {
		return err
	}
	result, err := sh.Invoke(ctx, shell.Call{Method: method, Params: params})
	if answered, ok := errors.AsType[*shell.PluginError](err); ok {
		number := thunder.NumberOrPluginCode(answered)
		return shellpb.ErrorWithDetail(grpcCode(number), answered.Message, &shellpb.Error{Code: int32(number), Data: answered.Data})
	}
	if err != nil || string(result) == "null" {
		return statusFromError(err)
	}
	if field != "" {
		result = fmt.Appendf(nil, `{%q:%s}`, field, result)
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(result, answer)
}

// begin calls a method that begins an operation.
func (s packagerService) begin(ctx context.Context, method string, request proto.Message) (*packagerpb.BegunResponse, error) {
	answer := &packagerpb.BegunResponse{}
	return answer, s.invoke(ctx, method, request, answer, "")
}

// Install begins to install a package.
func (s packagerService) Install(ctx context.Context, r *packagerpb.InstallRequest) (*packagerpb.BegunResponse, error) {
	return s.begin(ctx, "install", r)
}

// Upgrade begins to install another version of a package.
func (s packagerService) Upgrade(ctx context.Context, r *packagerpb.InstallRequest) (*packagerpb.BegunResponse, error) {
	return s.begin(ctx, "upgrade", r)
}

// Uninstall begins to remove a package.
func (s packagerService) Uninstall(ctx context.Context, r *packagerpb.UninstallRequest) (*packagerpb.BegunResponse, error) {
	return s.begin(ctx, "uninstall", r)
}

// Enable begins to start what ran of a package when it was disabled.
func (s packagerService) Enable(ctx context.Context, r *packagerpb.PackageRequest) (*packagerpb.BegunResponse, error) {
	return s.begin(ctx, "enable", r)
}

// Disable begins to end the instances of a package.
func (s packagerService) Disable(ctx context.Context, r *packagerpb.PackageRequest) (*packagerpb.BegunResponse, error) {
	return s.begin(ctx, "disable", r)
}

// Rollback begins to put the version before back.
func (s packagerService) Rollback(ctx context.Context, r *packagerpb.PackageRequest) (*packagerpb.BegunResponse, error) {
	return s.begin(ctx, "rollback", r)
}

// Retry begins what failed once more.
func (s packagerService) Retry(ctx context.Context, r *packagerpb.RetryRequest) (*packagerpb.BegunResponse, error) {
	return s.begin(ctx, "retry", r)
}

// Cancel ends the operation under way on a package.
func (s packagerService) Cancel(ctx context.Context, r *packagerpb.PackageRequest) (*packagerpb.BegunResponse, error) {
	return s.begin(ctx, "cancel", r)
}

// List returns all packages, sorted by name.
func (s packagerService) List(ctx context.Context, r *packagerpb.ListRequest) (*packagerpb.ListResponse, error) {
	answer := &packagerpb.ListResponse{}
	return answer, s.invoke(ctx, "list", r, answer, "packages")
}

// Show returns all that is known of a package.
func (s packagerService) Show(ctx context.Context, r *packagerpb.PackageRequest) (*packagerpb.PackageDetails, error) {
	answer := &packagerpb.PackageDetails{}
	return answer, s.invoke(ctx, "show", r, answer, "")
}

// History returns the operations that have ended.
func (s packagerService) History(ctx context.Context, r *packagerpb.HistoryRequest) (*packagerpb.HistoryResponse, error) {
	answer := &packagerpb.HistoryResponse{}
	return answer, s.invoke(ctx, "history", r, answer, "operations")
}

// Synchronize begins to read the catalogue again.
func (s packagerService) Synchronize(ctx context.Context, r *packagerpb.SynchronizeRequest) (*packagerpb.BegunResponse, error) {
	return s.begin(ctx, "synchronize", r)
}

// Browse returns the catalogue.
func (s packagerService) Browse(ctx context.Context, r *packagerpb.BrowseRequest) (*packagerpb.BrowseResponse, error) {
	answer := &packagerpb.BrowseResponse{}
	return answer, s.invoke(ctx, "browse", r, answer, "packages")
}

// Central returns what became of the wishes of the central repository.
func (s packagerService) Central(ctx context.Context, r *packagerpb.CentralRequest) (*packagerpb.CentralResponse, error) {
	answer := &packagerpb.CentralResponse{}
	return answer, s.invoke(ctx, "central", r, answer, "")
}

// Look has the host look into the central repository now.
func (s packagerService) Look(ctx context.Context, r *packagerpb.LookRequest) (*packagerpb.BegunResponse, error) {
	return s.begin(ctx, "look", r)
}

// Sync brings the database and the files of packages into agreement.
func (s packagerService) Sync(ctx context.Context, r *packagerpb.SyncRequest) (*packagerpb.SyncResponse, error) {
	answer := &packagerpb.SyncResponse{}
	return answer, s.invoke(ctx, "sync", r, answer, "lines")
}

// Trash returns what was deleted and can be restored.
func (s packagerService) Trash(ctx context.Context, r *packagerpb.TrashRequest) (*packagerpb.TrashResponse, error) {
	answer := &packagerpb.TrashResponse{}
	return answer, s.invoke(ctx, "trash", r, answer, "trashed")
}

// Restore begins to install what was deleted.
func (s packagerService) Restore(ctx context.Context, r *packagerpb.RestoreRequest) (*packagerpb.BegunResponse, error) {
	return s.begin(ctx, "restore", r)
}
