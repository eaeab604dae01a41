package communicator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// maxHealthDelay is how long a plugin may take to say whether it serves.
const maxHealthDelay = time.Second

// Answers of the health service.
const (
	serving        = grpc_health_v1.HealthCheckResponse_SERVING
	notServing     = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	serviceUnknown = grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
)

// healthService is the gRPC service grpc.health.v1.Health of the host and of each
// instance. The name of a service is empty for the host, that of one of the host's
// services, a callsign, or "callsign/service" with a service of the instance.
type healthService struct {
	grpc_health_v1.UnimplementedHealthServer
	*endpoint
}

// Check returns whether the host or the instance serves. An unknown name is an error.
func (s healthService) Check(ctx context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	now := s.healthOf(ctx, r.GetService())
	if now == serviceUnknown {
		return nil, statusWithNumber(thunder.UnknownKey, fmt.Sprintf("neither the host nor an instance is called %q", r.GetService()))
	}
	return &grpc_health_v1.HealthCheckResponse{Status: now}, nil
}

// List returns whether the host, its services and each instance serve.
func (s healthService) List(ctx context.Context, _ *grpc_health_v1.HealthListRequest) (*grpc_health_v1.HealthListResponse, error) {
	names := append([]string{""}, s.hostServices...)
	for _, sh := range s.Supervisor.Shells() {
		names = append(names, sh.Callsign())
	}
	answers := make([]grpc_health_v1.HealthCheckResponse_ServingStatus, len(names))
	var asked sync.WaitGroup
	for i, name := range names {
		asked.Go(func() { answers[i] = s.healthOf(ctx, name) })
	}
	asked.Wait()
	all := &grpc_health_v1.HealthListResponse{Statuses: make(map[string]*grpc_health_v1.HealthCheckResponse)}
	for i, name := range names {
		all.Statuses[name] = &grpc_health_v1.HealthCheckResponse{Status: answers[i]}
	}
	return all, nil
}

// Watch sends the present answer and then each other one. It looks again at each change of
// the instance's state. A name may be unknown now and known later.
func (s healthService) Watch(r *grpc_health_v1.HealthCheckRequest, to grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	callsign, _, _ := strings.Cut(r.GetService(), "/")
	w := s.transitions.add(s.ownCallsign == "", func(t shell.Transition) bool { return t.Callsign == callsign })
	last := grpc_health_v1.HealthCheckResponse_UNKNOWN
	sendIfChanged := func() error {
		now := s.healthOf(to.Context(), r.GetService())
		if now == last {
			return nil
		}
		last = now
		return to.Send(&grpc_health_v1.HealthCheckResponse{Status: now})
	}
	return serveAndRemoveWatcher(to.Context(), s.Communicator, &s.transitions, w, sendIfChanged, func(shell.Transition) error { return sendIfChanged() })
}

// healthOf returns the answer for a name. An instance serves if it delivers calls and its
// plugin, if it is active, says that it serves. No plugin is woken for that.
func (s healthService) healthOf(ctx context.Context, name string) grpc_health_v1.HealthCheckResponse_ServingStatus {
	if name == "" || slices.Contains(s.hostServices, name) {
		return serving
	}
	callsign, service, _ := strings.Cut(name, "/")
	sh, found := s.Supervisor.Shell(callsign)
	if !found || sh.State() == shell.Destroyed || service != "" && !mayServe(sh, service) {
		return serviceUnknown
	}
	ctx, cancel := context.WithTimeout(ctx, maxHealthDelay)
	defer cancel()
	err := sh.CheckHealth(ctx)
	if err == nil || errors.Is(err, shell.ErrUnavailable) && sh.DeliversCalls() { // not active now, but will be
		return serving
	}
	return notServing
}

// mayServe reports whether the instance has the service, or does not say yet which services
// it has.
func mayServe(sh *shell.Shell, service string) bool {
	services := servicesOf(sh)
	return services == nil || slices.Contains(services, service)
}
