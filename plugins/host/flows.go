package host

import (
	"context"

	"dormouse/configs"
	"dormouse/internal/queue"
	"dormouse/plugins/flows"
	"dormouse/plugins/flows/remote"
	"dormouse/plugins/packager"
	"dormouse/shell/shellpb"
)

// openFlows opens the queues and the flows, before the packages, which declare theirs. A private
// host has none.
func (h *Host) openFlows() error {
	config := h.options.Config.Flows
	queues, err := queue.Open(h.store, queue.Options{
		Total: queue.Limits{Messages: int64(config.MaxMessages), Bytes: int64(config.MaxBytes)},
		Lost: func(name, id string, cause error) {
			h.log.Error().Err(cause).Str("flow", name).Str("message", id).Msg("a message is lost")
		},
	})
	if err != nil {
		return err
	}
	o := flows.Options{
		Queues: queues, Store: h.store, Config: config, Log: h.log,
		Readiness: func(pkg string) flows.Readiness { return flows.Readiness(h.Packager.Readiness(pkg)) },
		Expected:  func(pkg string) (string, bool) { return h.Packager.ExpectsFlows(pkg) },
	}
	if len(config.Remotes) > 0 {
		remotes := remote.New(remote.Options{Remotes: config.Remotes, Queues: queues, Log: h.log, Flows: flowsOf{h}})
		o.Remote, o.RemoteTopics, o.RunRemotes = remotes.QueueOf, remotes.Topics, remotes.Run
	}
	h.Flows, err = flows.New(o)
	return err
}

// flowsOf are the flows of a host for streams elsewhere, which are made before the flows.
type flowsOf struct{ *Host }

// TakesTopic is that of Flows.
func (h flowsOf) TakesTopic(topic string) (takes bool, changed <-chan struct{}) {
	return h.Flows.TakesTopic(topic)
}

// PublishToTopic is that of Flows.
func (h flowsOf) PublishToTopic(ctx context.Context, topic string, m *shellpb.Message) (queue.Receipt, error) {
	return h.Flows.PublishToTopic(ctx, topic, m)
}

// packageFlows returns what the packages tell and ask the flows.
func (h *Host) packageFlows() packager.Flows {
	return packager.Flows{
		Declare: func(name string, declared []configs.Flow) {
			if err := h.Flows.Declare(context.Background(), name, declared); err != nil {
				h.log.Error().Err(err).Str("package", name).Msg("cannot declare the flows of the package")
			}
		},
		Withdraw: h.Flows.Withdraw,
		Holding: func(name string) []string {
			holding, err := h.Flows.Holding(context.Background(), name)
			if err != nil {
				h.log.Error().Err(err).Str("package", name).Msg("cannot look into the flows of the package")
			}
			return holding
		},
		Drain:   h.Flows.Drain,
		Discard: func(name string) error { return h.Flows.Discard(context.Background(), name) },
		Changed: h.Flows.Changed,
	}
}

// flowsService returns the gRPC service that takes messages of the plugin of that callsign, or
// with "" of native clients; nil in a private host.
func (h *Host) flowsService() func(publisher string) shellpb.FlowsServer {
	if h.Flows == nil {
		return nil
	}
	return h.Flows.Service
}
