package host

import (
	"net/netip"

	"dormouse/configs"
	"dormouse/internal/outbox"
	"dormouse/internal/outbox/targets"
	"dormouse/plugins/webhooks"
)

// openWebhooks opens the outbox and what delivers it. A private host has none.
func (h *Host) openWebhooks() error {
	if h.options.private {
		return nil
	}
	config := h.options.Config
	policy := targets.New(targets.Options{
		OwnPorts: func() []netip.AddrPort { return h.options.Listening },
		OwnName:  targets.HostPort(config.Host.PublicURL),
	})
	box, err := outbox.Open(h.store, outbox.Options{
		Targets: policy,
		Trouble: func(err error) { h.log.Error().Err(err).Msg("webhooks wait") },
	})
	if err != nil {
		return err
	}
	h.outbox, h.targets = box, policy
	h.Webhooks, err = webhooks.New(webhooks.Options{
		Outbox: box, Targets: policy, Configured: config.Webhooks.Rules(), Store: h.store, Log: h.log,
	})
	return err
}

// ReplaceWebhookTargets says anew where webhooks may go, as a configuration says that was read
// again, and reports whether that differs.
func (h *Host) ReplaceWebhookTargets(config configs.Config) (differ bool) {
	return h.Webhooks.SetConfigured(config.Webhooks.Rules())
}
