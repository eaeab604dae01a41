package webhooks

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/plugins/webhooks/webhookspb"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// service is the gRPC service dormouse.webhooks.v1.Webhooks. Each method is the method of the
// built-in of that name: its messages have the members of the JSON as fields.
type service struct {
	webhookspb.UnimplementedWebhooksServer
	webhooks *Webhooks
}

// Service returns the server of the gRPC service, for native clients and plugins.
func (w *Webhooks) Service() webhookspb.WebhooksServer { return service{webhooks: w} }

// ServiceAccess returns the role that a client needs for a method of the gRPC service, and what
// the call is about.
func ServiceAccess(_ context.Context, fullMethod string, _ any) (access.Role, access.Target) {
	name := strings.ToLower(fullMethod[strings.LastIndexByte(fullMethod, '/')+1:])
	return NeededAccess(Callsign, shell.Call{Method: strings.TrimPrefix(name, "get")})
}

// List lists deliveries that their targets have not taken.
func (s service) List(ctx context.Context, r *webhookspb.ListRequest) (*webhookspb.ListResponse, error) {
	all, err := s.webhooks.list(ctx, listParams{After: r.GetAfter(), Limit: int(r.GetLimit())})
	return message(&webhookspb.ListResponse{}, map[string]any{"deliveries": all}, err)
}

// GetStatus returns the figures and rules of now.
func (s service) GetStatus(ctx context.Context, _ *webhookspb.StatusRequest) (*webhookspb.Status, error) {
	st, err := s.webhooks.status(ctx)
	return message(&webhookspb.Status{}, st, err)
}

// Retry has deliveries tried at once.
func (s service) Retry(ctx context.Context, r *webhookspb.KeysRequest) (*webhookspb.CountResponse, error) {
	return s.change(ctx, r, s.webhooks.Outbox.Retry)
}

// Discard deletes deliveries.
func (s service) Discard(ctx context.Context, r *webhookspb.KeysRequest) (*webhookspb.CountResponse, error) {
	return s.change(ctx, r, s.webhooks.Outbox.Discard)
}

// change calls change with the keys in the request.
func (s service) change(ctx context.Context, r *webhookspb.KeysRequest, change func(context.Context, ...int64) error) (*webhookspb.CountResponse, error) {
	if err := checkIsClient(ctx); err != nil {
		return nil, err
	}
	n, err := s.webhooks.change(ctx, keysParams{Keys: r.GetKeys(), All: r.GetAll()}, change)
	return message(&webhookspb.CountResponse{}, n, err)
}

// Allow adds targets to those where webhooks may go.
func (s service) Allow(ctx context.Context, r *webhookspb.TargetsRequest) (*webhookspb.Status, error) {
	return s.allow(ctx, r, true)
}

// Disallow takes targets away that Allow has added.
func (s service) Disallow(ctx context.Context, r *webhookspb.TargetsRequest) (*webhookspb.Status, error) {
	return s.allow(ctx, r, false)
}

func (s service) allow(ctx context.Context, r *webhookspb.TargetsRequest, isAllowed bool) (*webhookspb.Status, error) {
	if err := checkIsClient(ctx); err != nil {
		return nil, err
	}
	if err := s.webhooks.allow(ctx, r.GetTargets(), isAllowed); err != nil {
		return nil, asStatus(err)
	}
	return s.GetStatus(ctx, nil)
}

// checkIsClient returns an error if a plugin calls: one may only read.
func checkIsClient(ctx context.Context) error {
	if shell.CallerOf(ctx) == "" {
		return nil
	}
	return shellpb.ErrorWithDetail(codes.PermissionDenied, "a plugin can't change what becomes of webhooks",
		&shellpb.Error{Code: int32(thunder.PrivilegedRequest)})
}

// message reads a result, which has the members of the message, into the message.
func message[M proto.Message](answer M, result any, err error) (M, error) {
	if err != nil {
		return answer, asStatus(err)
	}
	raw, err := json.Marshal(result)
	if err == nil {
		err = protojson.Unmarshal(raw, answer)
	}
	if err != nil {
		return answer, fmt.Errorf("cannot answer: %w", err)
	}
	return answer, nil
}
