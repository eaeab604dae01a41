// Package qhana serves the host's plugins and tasks to QHAna: the list of plugins, plugins, tasks,
// their steps and files, all as resources below one path, and forms where a plugin has no page of
// its own. It tells plugin registries which plugins come, change and go. Nothing else knows QHAna.
// The package does not know how a plugin runs, nor how a task is kept.
package qhana

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"dormouse/internal/outbox"
	"dormouse/internal/store"
	"dormouse/plugins/access"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// Path is the path below which all resources lie: the seed path that a registry is given.
const Path = "/qhana"

// Options is what New needs to make a QHAna.
type Options struct {
	// PublicURL begins every link. It has no slash at its end.
	PublicURL string
	// Role is the role of clients from the networks From.
	Role access.Role
	From []netip.Prefix
	// Registries are the API roots of the plugin registries that are told of changes.
	Registries []string

	Instances Instances
	Tasks     Tasks
	// Called is told that a webhook of the host itself was called for the task with the address
	// source. Nil: the host has none.
	Called func(ctx context.Context, token, source string) error
	Store  *store.Store
	Outbox Outbox
	Log    zerolog.Logger
}

// Instances are the instances of the host.
type Instances interface {
	// All returns those that may be plugins for others, in any order.
	All() []Instance
	// Endpoint returns what answers requests for a path of the instance's own; false for nothing.
	Endpoint(callsign, httpMethod, path string) (shell.Endpoint, bool)
}

// Instance is what is known of an instance.
type Instance struct {
	Callsign string
	Parent   string // of a virtual plugin; else empty
	// IsKnown reports whether the program has said what it is. What was told of an instance that
	// is not known yet stays as it is.
	IsKnown bool
	// Class, Description and Version are the program's own. They count where Profile has none.
	Class, Description, Version string
	Profile                     shell.Profile
}

// Tasks are the tasks of the host. Errors of its methods may be given to its HTTPStatus.
type Tasks interface {
	// Start makes a task of the instance. Unless callback is empty, the task has a subscription to
	// all events before Start returns, whose source is QHAna.TaskAddress.
	Start(ctx context.Context, callsign, title string, parameters json.RawMessage, callback string) (*taskspb.Task, error)
	// Get returns a task once it is newer than the revision, has ended or the time is over.
	Get(ctx context.Context, task string, revision uint64, wait time.Duration) (*taskspb.Task, error)
	Submit(ctx context.Context, task, step string, values json.RawMessage) error
	Cancel(ctx context.Context, task string) error
	Subscribe(ctx context.Context, task string, s Subscription) error
	// Unsubscribe removes the subscriptions of that URL: all, or only the one to that event, which
	// is empty for all.
	Unsubscribe(ctx context.Context, task, url, event string, all bool) error
	// OpenOutput returns the file of that key of a task that has ended.
	OpenOutput(ctx context.Context, task, key string) (*taskspb.Output, io.ReadSeekCloser, error)
	HTTPStatus(err error) int
}

// Subscription says which webhook is called for a task.
type Subscription struct {
	URL    string
	Event  string // "status", "steps" or "details"; empty for all
	Source string // the address of the task as the subscriber knows it
	Secret string
}

// QHAna serves the resources. Any goroutine may use it.
type QHAna struct {
	Options
	base    string // of all public addresses
	changed chan struct{}
	// isServing reports whether Run runs, while the resources can be reached.
	isServing atomic.Bool

	mu     sync.Mutex      // guards the field below
	warned map[string]bool // by callsign and version: that the instance was left out
}

// New returns a QHAna. It tells registries nothing before Run, and drops what waits for those that
// are configured no more.
func New(o Options) (*QHAna, error) {
	var registries []string
	for _, registry := range o.Registries {
		registry = strings.TrimRight(registry, "/") + "/" // else it would redirect
		if !slices.Contains(registries, registry) {
			registries = append(registries, registry)
		}
	}
	o.Registries = registries
	if err := o.Store.Define("qhana", toldSchema...); err != nil {
		return nil, fmt.Errorf("cannot keep what registries were told: %w", err)
	}
	q := &QHAna{
		Options: o, base: o.PublicURL + Path,
		changed: make(chan struct{}, 1), warned: make(map[string]bool),
	}
	o.Outbox.Handle(kind, outbox.Kind{Exempt: true, Find: q.signalAddress})
	if err := q.forgetOthers(context.Background()); err != nil {
		return nil, fmt.Errorf("cannot forget registries: %w", err)
	}
	return q, nil
}

// RoleOf returns the role that a client has below Path at least, by the network it is in.
func (q *QHAna) RoleOf(c access.Client) access.Role {
	address, err := netip.ParseAddrPort(c.Address)
	if err != nil {
		return access.None
	}
	from := address.Addr().Unmap().WithZone("")
	if slices.ContainsFunc(q.From, func(network netip.Prefix) bool { return network.Contains(from) }) {
		return q.Role
	}
	return access.None
}
