package qhana

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"dormouse/plugins/access"
)

// callbacksName is the part of the path below which the host's own webhooks lie.
const callbacksName = "callbacks"

// Callback returns the address of the host's own webhook with that token, which tasks elsewhere
// call.
func (q *QHAna) Callback(token string) string { return address(q.base, callbacksName, token) }

// Token returns the token of the host's own webhook with that address; false if it is none.
func (q *QHAna) Token(webhook string) (token string, own bool) {
	webhook, _, _ = strings.Cut(webhook, "?")
	rest, own := strings.CutPrefix(webhook, q.base+"/"+callbacksName+"/")
	token = strings.TrimSuffix(rest, "/")
	return token, own && token != "" && !strings.Contains(token, "/")
}

// OwnTask returns the id of the task of this host that has that address; false if none can have it.
func (q *QHAna) OwnTask(task string) (id string, own bool) {
	rest, own := strings.CutPrefix(task, q.base+"/tasks/")
	id = strings.TrimSuffix(rest, "/")
	return id, own && id != "" && !strings.Contains(id, "/")
}

// OwnStep returns the id of the task of this host to whose steps the address belongs; false if none
// can have it.
func (q *QHAna) OwnStep(step string) (task string, own bool) {
	task, _, own = strings.Cut(step, "/steps/")
	if !own {
		return "", false
	}
	return q.OwnTask(task)
}

// StartAddresses returns where work of an instance is started, by callsign or by the address of its
// resource, and its title; false if it is no plugin of this host for others.
func (q *QHAna) StartAddresses(plugin, callback string) (href, ui, title string, found bool) {
	wanted, isOwn := strings.CutPrefix(plugin, q.base+"/plugins/")
	wanted = strings.TrimSuffix(wanted, "/")
	for _, p := range q.listing() {
		isNamed := isOwn && (p.identifier == wanted || url.PathEscape(p.identifier) == wanted)
		if p.Callsign != plugin && !isNamed {
			continue
		}
		r := q.resourceOf(p)
		return withCallback(r.EntryPoint.Href, callback), withCallback(r.EntryPoint.UIHref, callback), r.Title, true
	}
	return "", "", "", false
}

// callback returns the resource of the host's own webhook with that token. The token is all that
// a caller needs to know.
func (q *QHAna) callback(token string) resource {
	return resource{post: action{access.Read, "callback", func(w http.ResponseWriter, r *http.Request) { q.serveCallback(w, r, token) }}}
}

// serveCallback has the host look at what follows the task that the query parameter source names.
func (q *QHAna) serveCallback(w http.ResponseWriter, r *http.Request, token string) {
	if q.Called == nil {
		q.serveNotFound(w, r)
		return
	}
	if err := q.Called(context.WithoutCancel(r.Context()), token, r.URL.Query().Get("source")); err != nil {
		q.respondError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
