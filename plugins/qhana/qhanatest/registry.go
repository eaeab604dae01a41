// Package qhanatest has stand-ins of QHAna's programs for tests. They behave as the real ones do,
// as far as a host notices; docs/qhana.md says where that was seen.
package qhanatest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Registry is a stand-in of qhana-plugin-registry.
type Registry struct {
	server *httptest.Server
	client *http.Client

	mu       sync.Mutex
	seeds    []string
	plugins  map[string]Plugin // by address
	log      []string          // the requests that it got, and the plugins that came and went
	changed  chan struct{}     // closed at the next line of the log
	answers  []int             // statuses of the next answers, in the place of its own
	pending  sync.WaitGroup
	isClosed bool
}

// Plugin is a plugin that a registry knows.
type Plugin struct {
	Name, Version, Type string
	Tags                []string
	Href, UIHref        string
}

// NewRegistry returns a registry that runs until Close.
func NewRegistry(seeds ...string) *Registry {
	r := &Registry{
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}},
		seeds:  seeds, plugins: make(map[string]Plugin), changed: make(chan struct{}),
	}
	r.server = httptest.NewServer(http.HandlerFunc(r.serve))
	return r
}

// Close ends the registry, once it has done what it was asked to.
func (r *Registry) Close() {
	r.mu.Lock()
	r.isClosed = true
	r.mu.Unlock()
	r.server.Close()
	r.pending.Wait()
	r.client.CloseIdleConnections()
}

// Root returns the root of its API, as a host configures it.
func (r *Registry) Root() string { return r.server.URL + "/api/" }

// AddSeed adds a seed, as POST to /api/seeds/ does.
func (r *Registry) AddSeed(seed string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seeds = append(r.seeds, seed)
}

// AnswerNext has it answer the next requests with these statuses, and do nothing.
func (r *Registry) AnswerNext(statuses ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = append(r.answers, statuses...)
}

// Plugins returns the plugins that it knows, "name version" of each, sorted.
func (r *Registry) Plugins() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []string{}
	for _, p := range r.plugins {
		all = append(all, p.Name+" "+p.Version)
	}
	slices.Sort(all)
	return all
}

// Find returns the plugins that have all the tags, and none of those with "!" before them.
func (r *Registry) Find(tags ...string) (found []Plugin) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.plugins {
		if !slices.ContainsFunc(tags, func(tag string) bool {
			name, not := strings.CutPrefix(tag, "!")
			return slices.Contains(p.Tags, name) == not
		}) {
			found = append(found, p)
		}
	}
	return found
}

// AwaitPlugins returns nil once it knows exactly these plugins, or an error when ctx ends.
func (r *Registry) AwaitPlugins(ctx context.Context, want ...string) error {
	for {
		r.mu.Lock()
		changed := r.changed
		r.mu.Unlock()
		if slices.Equal(r.Plugins(), want) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the registry knows %q, not %q; it saw\n%s", r.Plugins(), want, strings.Join(r.Log(), "\n"))
		}
	}
}

// AwaitLog returns nil once a line with that text stands in its log, after the first lines.
func (r *Registry) AwaitLog(ctx context.Context, after int, text string) error {
	for {
		r.mu.Lock()
		changed, log := r.changed, slices.Clone(r.log[min(after, len(r.log)):])
		r.mu.Unlock()
		if slices.ContainsFunc(log, func(line string) bool { return strings.Contains(line, text) }) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the registry has not seen %q but\n%s", text, strings.Join(log, "\n"))
		}
	}
}

// Log returns the requests that it got, and the plugins that came and went.
func (r *Registry) Log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log)
}

// note adds a line to the log. The caller holds mu.
func (r *Registry) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf(format, args...))
	close(r.changed)
	r.changed = make(chan struct{})
}

// link is a link of its API.
type link struct {
	Href         string   `json:"href"`
	Rel          []string `json:"rel"`
	ResourceType string   `json:"resourceType"`
}

// serve answers a request to the API.
func (r *Registry) serve(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note("%s %s", request.Method, request.URL.RequestURI())
	if len(r.answers) > 0 {
		status := r.answers[0]
		r.answers = r.answers[1:]
		w.WriteHeader(status)
		return
	}
	self := func(rel []string, kind string, links ...link) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"data":     map[string]any{"self": link{r.server.URL + request.URL.Path, rel, kind}},
			"links":    links,
			"embedded": []any{},
		})
	}
	root := r.server.URL + "/api/"
	switch {
	case request.URL.Path == "/api":
		http.Redirect(w, request, "/api/", http.StatusPermanentRedirect)
	case request.Method == http.MethodGet && request.URL.Path == "/api/":
		self([]string{"api"}, "api",
			link{root + "seeds/", []string{"collection", "page"}, "seed"},
			link{root + "plugins/", []string{"collection", "page"}, "plugin"})
	case request.Method == http.MethodGet && request.URL.Path == "/api/plugins/":
		self([]string{"collection", "page"}, "plugin",
			link{root, []string{"up"}, "api"},
			link{root + "plugins/?item-count=25", []string{"collection", "page", "first"}, "plugin"},
			link{root + "plugins/", []string{"create", "post"}, "plugin"})
	case request.Method == http.MethodPost && request.URL.Path == "/api/plugins/":
		if signaled := request.URL.Query().Get("url"); !r.isClosed && r.hasSeedOf(signaled) {
			r.pending.Go(func() { r.look(signaled) })
		}
		w.WriteHeader(http.StatusNoContent) // also when it does nothing
	default:
		http.NotFound(w, request)
	}
}

// hasSeedOf reports whether a seed is at the same host and its path begins that of the address.
func (r *Registry) hasSeedOf(address string) bool {
	u, err := url.Parse(address)
	return err == nil && slices.ContainsFunc(r.seeds, func(seed string) bool {
		s, err := url.Parse(seed)
		return err == nil && s.Host == u.Host && strings.HasPrefix(u.Path, s.Path)
	})
}

// look fetches a plugin: 200 adds it, 404 and no connection remove it, anything else changes
// nothing.
func (r *Registry) look(address string) {
	status, found, err := r.fetch(address)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil || status == http.StatusNotFound:
		delete(r.plugins, address)
		r.note("removed %s", address)
	case status == http.StatusOK:
		if err := r.add(address, found); err != nil {
			r.note("failed at %s: %v", address, err)
		}
	default:
		r.note("ignored %d of %s", status, address)
	}
}

// fetch returns the JSON at an address.
func (r *Registry) fetch(address string) (status int, value map[string]any, err error) {
	response, err := r.client.Get(address)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, &value)
	}
	return response.StatusCode, value, err
}

// PythonVersion is what Python's packaging takes for a version: PEP 440.
var PythonVersion = regexp.MustCompile(`(?i)^\s*v?(?:(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*(?:[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc)[-_.]?[0-9]*)?` +
	`(?:-[0-9]+|[-_.]?(?:post|rev|r)[-_.]?[0-9]*)?(?:[-_.]?dev[-_.]?[0-9]*)?)(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?\s*$`)

// pluginMembers are the members that make an object a plugin.
var pluginMembers = []string{"name", "version", "title", "description", "type", "tags", "entryPoint"}

// isPlugin reports whether the object is a plugin; else it is a runner.
func isPlugin(value map[string]any) bool {
	return !slices.ContainsFunc(pluginMembers, func(name string) bool {
		_, there := value[name]
		return !there
	})
}

// add adds the plugin that is at an address. Of one whose name and version it knows it changes
// nothing. The caller holds mu.
func (r *Registry) add(address string, value map[string]any) error {
	text, err := json.Marshal(value)
	if err != nil || !isPlugin(value) {
		return fmt.Errorf("no plugin: %s", text)
	}
	var p struct {
		Name, Version, Type string
		Tags                []string
		EntryPoint          map[string]any
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	href, hasHref := p.EntryPoint["href"].(string)
	uiHref, hasUI := p.EntryPoint["uiHref"].(string)
	switch {
	case !PythonVersion.MatchString(p.Version):
		return fmt.Errorf("InvalidVersion: %q", p.Version)
	case !hasHref || !hasUI:
		return fmt.Errorf("KeyError: the entry point of %s lacks href or uiHref", p.Name)
	}
	for _, known := range r.plugins {
		if known.Name == p.Name && known.Version == p.Version {
			r.note("seen %s", address)
			return nil
		}
	}
	r.plugins[address] = Plugin{p.Name, p.Version, p.Type, p.Tags, href, uiHref}
	r.note("added %s", address)
	return nil
}

// Discover does what the registry does with its seeds every 15 minutes. The first plugin that it
// can't take ends the work on that seed, with an error: those after it are not looked at.
func (r *Registry) Discover() error {
	r.mu.Lock()
	seeds := slices.Clone(r.seeds)
	r.mu.Unlock()
	for _, seed := range seeds {
		if err := r.discover(seed, 0); err != nil {
			return err
		}
	}
	return nil
}

// maxNesting is how deep runners may stand in runners.
const maxNesting = 3

// discover adds the plugin at an address, or those of the runner there.
func (r *Registry) discover(address string, nesting int) error {
	status, value, err := r.fetch(address)
	if err != nil || status != http.StatusOK || nesting > maxNesting {
		return nil
	}
	if isPlugin(value) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.add(address, value)
	}
	status, value, err = r.fetch(strings.TrimRight(address, "/") + "/plugins")
	if err != nil || status != http.StatusOK {
		return nil
	}
	rows, _ := value["plugins"].([]any)
	for _, row := range rows {
		members, _ := row.(map[string]any)
		root, _ := members["apiRoot"].(string)
		if u, err := url.Parse(root); err != nil || u.Host == "" {
			return fmt.Errorf("the apiRoot %q is not absolute", root)
		}
		if version, _ := members["version"].(string); !PythonVersion.MatchString(version) {
			return fmt.Errorf("InvalidVersion: %q", version)
		}
		if err := r.discover(root, nesting+1); err != nil {
			return err
		}
	}
	return nil
}
