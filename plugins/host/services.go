package host

import (
	"dormouse/plugins/communicator"
	"dormouse/plugins/state"
	"dormouse/plugins/webhooks"
	"dormouse/plugins/webhooks/webhookspb"
)

// services returns the gRPC services that other parts of the host serve. A private host serves
// the state and the tasks of its plugins only.
func (h *Host) services() []communicator.HostService {
	all := []communicator.HostService{
		h.tasksService(),
		{Desc: state.ServiceDesc, Server: h.State.Service(), Access: state.ServiceAccess},
	}
	if h.options.private {
		return all
	}
	return append(all,
		communicator.HostService{Desc: &webhookspb.Webhooks_ServiceDesc, Server: h.Webhooks.Service(), Access: webhooks.ServiceAccess},
	)
}
