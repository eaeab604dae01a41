package qhana

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"dormouse/plugins/access"
	"dormouse/plugins/tasks/taskspb"
)

// resource is what lies at one path.
type resource struct {
	callsign  string // the instance that it is about; empty for none
	get, post action
	// isFile reports whether its address has no slash at its end.
	isFile bool
	// any is what answers every HTTP method in the place of get and post.
	any action
}

// action is what a request does. The zero action is none.
type action struct {
	needs  access.Role
	method string // as rules of access name it
	serve  http.HandlerFunc
}

// Resource returns what answers a request below Path, the role that a client needs for it and
// what it is about. There is an answer to every request.
func (q *QHAna) Resource(r *http.Request) (http.Handler, access.Role, access.Target) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), Path)
	found, ok := q.resourceAt(r.Context(), segments(path))
	if !ok {
		return http.HandlerFunc(q.serveNotFound), access.Read, access.Target{Method: "get"}
	}
	do, allowed := found.action(r.Method)
	about := access.Target{Callsign: found.callsign, Method: do.method}
	switch {
	case do.serve == nil:
		return methodNotAllowed(allowed), access.Read, about
	case !found.isFile && path != "" && !strings.HasSuffix(path, "/"):
		return http.HandlerFunc(q.addSlash), do.needs, about
	}
	return do.serve, do.needs, about
}

// segments returns the parts of a path, unescaped; the last one may be empty.
func segments(path string) (parts []string) {
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		plain, err := url.PathUnescape(part)
		if err != nil {
			plain = part
		}
		parts = append(parts, plain)
	}
	return parts
}

// action returns what the resource does for an HTTP method, and the methods that it knows.
func (r resource) action(httpMethod string) (do action, allowed string) {
	switch {
	case r.any.serve != nil:
		return r.any, ""
	case httpMethod == http.MethodGet, httpMethod == http.MethodHead:
		do = r.get
	case httpMethod == http.MethodPost:
		do = r.post
	}
	switch {
	case r.post.serve == nil:
		return do, "GET, HEAD"
	case r.get.serve == nil:
		return do, "POST"
	}
	return do, "GET, HEAD, POST"
}

// reading returns an action for which it suffices that the client may read.
func reading(serve http.HandlerFunc) action { return action{access.Read, "get", serve} }

// resourceAt returns the resource at a path, false if there is none.
func (q *QHAna) resourceAt(ctx context.Context, path []string) (resource, bool) {
	if slices.Contains(path, ".") || slices.Contains(path, "..") {
		return resource{}, false // an address has one spelling, and leads nowhere else
	}
	directory := path
	if last := len(path) - 1; path[last] == "" {
		directory = path[:last]
	}
	switch n := len(directory); {
	case n == 0:
		return resource{get: reading(q.serveRoot)}, true
	case path[0] == "plugins" && n == 1:
		return resource{get: action{access.Read, "list", q.serveList}}, true
	case path[0] == "plugins":
		return q.pluginPart(directory[1], path[2:])
	case path[0] == "tasks" && n >= 2:
		t, err := q.Tasks.Get(ctx, directory[1], 0, 0)
		if err != nil {
			return resource{}, false
		}
		return q.taskPart(t, path[2:])
	case path[0] == callbacksName && n == 2:
		return q.callback(directory[1]), true
	case path[0] == "web" && n >= 2 && len(path) > 2:
		return q.web(directory[1], strings.Join(path[2:], "/"))
	}
	return resource{}, false
}

// pluginPart returns the resource at a path below that of a plugin.
func (q *QHAna) pluginPart(identifier string, path []string) (resource, bool) {
	p, ok := q.find(identifier)
	if !ok {
		if newest, named := q.newest(identifier); named && isDirectory(path) {
			to := q.pluginAddress(newest.identifier)
			return resource{callsign: newest.Callsign, get: reading(redirectTo(http.StatusTemporaryRedirect, to))}, true
		}
		return resource{}, false
	}
	found := resource{callsign: p.Callsign}
	switch {
	case isDirectory(path):
		found.get = reading(func(w http.ResponseWriter, _ *http.Request) { respondJSON(w, http.StatusOK, q.resourceOf(p)) })
	case isDirectory(path, "process"):
		found.post = action{access.Call, "start", func(w http.ResponseWriter, r *http.Request) { q.start(w, r, p) }}
	case path[0] == "ui":
		action := q.pluginAddress(p.identifier, "process")
		entry := p.entry()
		return q.ui(found, path[1:], entry.UI, action, func(w http.ResponseWriter, r *http.Request) { q.serveStartForm(w, r, p) })
	default:
		return resource{}, false
	}
	return found, true
}

// taskPart returns the resource at a path below that of a task.
func (q *QHAna) taskPart(t *taskspb.Task, path []string) (resource, bool) {
	found := resource{callsign: t.GetCallsign()}
	switch {
	case isDirectory(path):
		found.get = reading(func(w http.ResponseWriter, r *http.Request) { q.serveTask(w, r, t) })
		found.post = action{access.Call, "subscribe", func(w http.ResponseWriter, r *http.Request) { q.subscribe(w, r, t.GetId()) }}
		return found, true
	case isDirectory(path, "cancel"):
		found.post = action{access.Operate, "cancel", func(w http.ResponseWriter, r *http.Request) { q.cancel(w, r, t.GetId()) }}
		return found, true
	case path[0] == "outputs" && len(path) >= 3 && path[2] != "":
		found.isFile = true
		found.get = action{access.Read, "get", func(w http.ResponseWriter, r *http.Request) { q.serveOutput(w, r, t.GetId(), path[1], path[2]) }}
		return found, len(path) == 3
	case path[0] != "steps" || len(path) < 2:
		return resource{}, false
	}
	step := stepOf(t, path[1])
	switch {
	case step == nil:
		return resource{}, false
	case isDirectory(path[2:]):
		found.get = reading(func(w http.ResponseWriter, _ *http.Request) { respondJSON(w, http.StatusOK, q.stepResource(t, step)) })
		found.post = action{access.Call, "submit", func(w http.ResponseWriter, r *http.Request) { q.submit(w, r, t, step) }}
		return found, true
	case path[2] == "ui":
		return q.ui(found, path[3:], step.GetUi(), q.stepResource(t, step).Href, func(w http.ResponseWriter, r *http.Request) { q.serveStepForm(w, r, t, step) })
	}
	return resource{}, false
}

// isDirectory reports whether the path has exactly these parts, with a slash at its end or
// without.
func isDirectory(path []string, parts ...string) bool {
	if n := len(path) - 1; n >= 0 && path[n] == "" {
		path = path[:n]
	}
	return strings.Join(path, "/") == strings.Join(parts, "/")
}

// stepOf returns the step of that id, nil if the task has none.
func stepOf(t *taskspb.Task, id string) *taskspb.Step {
	for _, s := range t.GetSteps() {
		if s.GetId() == id {
			return s
		}
	}
	return nil
}

// serveNotFound answers for a path at which there is nothing, not any more or not for the client.
func (q *QHAna) serveNotFound(w http.ResponseWriter, _ *http.Request) {
	respondProblem(w, http.StatusNotFound, "there is nothing at this address, or not any more")
}

// methodNotAllowed returns what answers a request whose HTTP method the resource does not know.
func methodNotAllowed(allowed string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", allowed)
		respondProblem(w, http.StatusMethodNotAllowed, "this address takes only "+allowed)
	}
}

// redirectTo returns what answers with a redirection to an address, to which it adds the query of
// the request.
func redirectTo(status int, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			redirect(w, status, to+"?"+r.URL.RawQuery)
			return
		}
		redirect(w, status, to)
	}
}

// addSlash redirects to the same address with a slash at its end.
func (q *QHAna) addSlash(w http.ResponseWriter, r *http.Request) {
	redirectTo(http.StatusPermanentRedirect, q.spelledBase(r)+strings.TrimPrefix(r.URL.EscapedPath(), Path)+"/")(w, r)
}
