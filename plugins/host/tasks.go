package host

import (
	"path/filepath"

	"dormouse/plugins/access"
	"dormouse/plugins/communicator"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/subscriptions"
	"dormouse/plugins/tasks/taskspb"
)

// openTasks opens the tasks of plugins. A private host has them too, without webhooks.
func (h *Host) openTasks() (err error) {
	o := tasks.Options{
		Store: h.store, Dir: filepath.Join(h.options.Config.Host.Root, OutputsName), Config: h.options.Config.Tasks, Log: h.log,
	}
	if h.options.Config.ServesQHAna() {
		o.Address = h.addressOfTask
	}
	if h.outbox != nil {
		if err := h.openFollows(); err != nil {
			return err
		}
		o.Following = h.follows
		o.Subscriptions, err = subscriptions.Open(subscriptions.Options{
			Store: h.store, Outbox: h.outbox, Address: h.addressOfTask, Own: ownWebhooks{h},
		})
		if err != nil {
			return err
		}
	}
	h.Tasks, err = tasks.New(o)
	return err
}

// addressOfTask returns what names a task to subscribers that know no address of it: its public
// address, or its id if the host has none.
func (h *Host) addressOfTask(task string) string {
	if !h.options.Config.ServesQHAna() {
		return task
	}
	return h.qhana.TaskAddress(task)
}

// tasksService returns the gRPC service of tasks. A plugin has the rights with the tasks of others
// that the rules give it.
func (h *Host) tasksService() communicator.HostService {
	check := func(callsign string, needed access.Role, about access.Target) error {
		return h.Access.Check(access.Client{Plugin: callsign}, needed, about)
	}
	return communicator.HostService{Desc: &taskspb.Tasks_ServiceDesc, Server: h.Tasks.Service(check), Access: tasks.ServiceAccess}
}
