package qhana

import (
	"net/http"
	"path"
	"slices"
	"strings"

	"dormouse/plugins/access"
)

// formAction is the header in which a plugin that makes a page of its own reads the address to
// which the page's form is to be sent. A client's own is replaced.
const formAction = "Form-Action"

// web returns what the instance itself answers requests for that path of its own with; nothing of
// instances that are not for QHAna, whose peers have no business there.
func (q *QHAna) web(callsign, below string) (resource, bool) {
	if !slices.ContainsFunc(q.Instances.All(), func(one Instance) bool { return one.Callsign == callsign && one.isForQHAna() }) {
		return resource{}, false
	}
	return q.webWithAction(resource{callsign: callsign}, below, func(*http.Request) string { return "" })
}

// webWithAction is web, and tells the plugin the address that action returns for a request.
func (q *QHAna) webWithAction(found resource, below string, action func(*http.Request) string) (resource, bool) {
	found.isFile = true
	found.any = q.webAction(found.callsign, below, action)
	return found, found.any.serve != nil
}

// webAction returns what the plugin answers requests for a path of its own with, the zero action
// if it answers none.
func (q *QHAna) webAction(callsign, below string, actionOf func(*http.Request) string) action {
	needs := ""
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if e, ok := q.Instances.Endpoint(callsign, method, below); ok {
			needs = e.Needs
			break
		}
	}
	if needs == "" {
		return action{}
	}
	return action{access.Call, needs, func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		e, ok := q.Instances.Endpoint(callsign, method, below)
		if !ok {
			respondProblem(w, http.StatusMethodNotAllowed, "the plugin does not take "+r.Method+" here")
			return
		}
		r.Header.Del(formAction)
		if to := actionOf(r); to != "" {
			r.Header.Set(formAction, to)
		}
		e.ServeHTTP(w, r)
	}}
}

// ui returns a page for people at a path below the page's address: what the plugin has at page, a
// path of its own, and beside it; or the form if the plugin has no page. The page's own form is to
// be sent to the address to.
func (q *QHAna) ui(found resource, below []string, page, to string, form http.HandlerFunc) (resource, bool) {
	if page == "" || isAbsolute(page) {
		if len(below) > 1 || len(below) == 1 && below[0] != "" {
			return resource{}, false
		}
		found.get = reading(form)
		if page != "" {
			found.get = reading(redirectTo(http.StatusTemporaryRedirect, page))
		}
		return found, true
	}
	page = strings.TrimPrefix(page, "/")
	isPage := len(below) == 0 || len(below) == 1 && below[0] == ""
	if !isPage {
		page = path.Join(path.Dir(page), strings.Join(below, "/"))
	}
	found, ok := q.webWithAction(found, page, func(r *http.Request) string {
		return withCallback(to, r.URL.Query().Get("callback"))
	})
	found.isFile = !isPage
	return found, ok
}
