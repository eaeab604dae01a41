package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"dormouse/internal/store"
	"dormouse/plugins/qhana"
	"dormouse/plugins/qhana/remote"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/follow"
	"dormouse/plugins/tasks/taskspb"
)

// openFollows opens what tasks of this host go along with. The addresses that it needs are there
// only if the host serves QHAna's programs.
func (h *Host) openFollows() (err error) {
	h.elsewhere = remote.New(h.targets.DialContext)
	h.follows, err = follow.Open(follow.Options{
		Store: h.store, Log: h.log,
		Entry:   h.entryOf,
		OwnTask: h.ownTask,
		OwnStep: h.ownStep,
		Every:   time.Duration(h.options.Config.Tasks.FollowEvery),
		Callback: func(token string) string {
			q := h.servedQHAna()
			if q == nil {
				return ""
			}
			return q.Callback(token)
		},
		Elsewhere: elsewhere{h.elsewhere},
	})
	return err
}

// servedQHAna returns the resources for QHAna's programs, nil if this host does not serve them.
func (h *Host) servedQHAna() *qhana.QHAna {
	if !h.options.Config.ServesQHAna() {
		return nil
	}
	return h.qhana
}

// entryOf returns where a user starts work of a plugin of this host, or of the one with that
// address.
func (h *Host) entryOf(ctx context.Context, plugin, callback string) (follow.Entry, error) {
	if q := h.servedQHAna(); q != nil {
		if href, ui, title, found := q.StartAddresses(plugin, callback); found {
			return follow.Entry{Href: href, UI: ui, Title: title}, nil
		}
	}
	if !strings.Contains(plugin, "://") {
		return follow.Entry{}, fmt.Errorf("%w: no plugin with the callsign %.64q can be started by others", tasks.ErrUnknown, plugin)
	}
	entry, err := h.elsewhere.Entry(ctx, plugin, callback)
	return follow.Entry{Href: entry.Href, UI: entry.UI, Title: entry.Title, Origin: follow.OriginOf(entry.Href)}, err
}

// elsewhere are the tasks of others.
type elsewhere struct{ *remote.Client }

// Read returns a task.
func (e elsewhere) Read(ctx context.Context, address string) (*taskspb.Task, error) {
	t, err := e.Client.Read(ctx, address)
	if errors.Is(err, remote.ErrGone) {
		err = fmt.Errorf("%w: %w", follow.ErrVanished, err)
	}
	return t, err
}

// ownTask returns the id of the task of this host that has that address; false if none can have
// it.
func (h *Host) ownTask(address string) (id string, own bool) {
	q := h.servedQHAna()
	if q == nil {
		return "", false
	}
	return q.OwnTask(address)
}

// ownStep returns the id of the task of this host to whose steps the address belongs; false if none
// can have it.
func (h *Host) ownStep(address string) (task string, own bool) {
	q := h.servedQHAna()
	if q == nil {
		return "", false
	}
	return q.OwnStep(address)
}

// ownWebhooks are the webhooks of the host itself.
type ownWebhooks struct{ *Host }

// Token returns the token of the webhook with that URL; false if it is another's.
func (o ownWebhooks) Token(url string) (token string, own bool) {
	q := o.servedQHAna()
	if q == nil {
		return "", false
	}
	return q.Token(url)
}

// CalledIn is that of the follows.
func (o ownWebhooks) CalledIn(tx *store.Tx, token, task string) error {
	return o.follows.CalledIn(tx, token, task)
}
