package packager

import (
	"encoding/json"
	"errors"
	"net/http"

	"dormouse/plugins/packager/oci"
)

// maxNotification is how many bytes a registry's notification may have.
const maxNotification = 1 << 20

// notification is what the Packager reads of a registry's notification, of the form of
// docker-registry: application/vnd.docker.distribution.events.v2+json.
type notification struct {
	Events []struct {
		Action string `json:"action"`
		Target struct {
			Repository string `json:"repository"`
		} `json:"target"`
	} `json:"events"`
}

// serveNotification takes the notification of a registry, which can do no more than ask for a
// look. It does not hold what is said there: the look reads the registry.
func (p *Packager) serveNotification(w http.ResponseWriter, r *http.Request) {
	var n notification
	err := json.NewDecoder(r.Body).Decode(&n)
	if _, big := errors.AsType[*http.MaxBytesError](err); big {
		http.Error(w, "the notification is too big", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil || n.isAbout(p.settings().Central) {
		p.lookSoon()
	}
	w.WriteHeader(http.StatusAccepted)
}

// isAbout reports whether something was pushed into the repository. What was pulled from there,
// as by each look, is not news.
func (n notification) isAbout(repository string) bool {
	central, err := oci.ParseReference(repository)
	if err != nil {
		return false
	}
	for _, event := range n.Events {
		if event.Action != "pull" && event.Target.Repository == central.Repository {
			return true
		}
	}
	return false
}
