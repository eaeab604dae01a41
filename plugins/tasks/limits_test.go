package tasks

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"dormouse/plugins/tasks/taskspb"
)

// Addresses of steps, pages and links are of HTTP, or paths.
func TestAddresses(t *testing.T) {
	allowed := []string{"", "steps/next", "/steps/next?a=b:c", "?a=b", "http://127.0.0.1:80/x", "https://there.example"}
	refused := []string{"::", ":", "nonsense:x", "mailto:me@there.example", "javascript:alert(1)", "data:text/html,x", "//there.example/x", "http:///x", "http:x", "http://[::1", "a\x00", "%zz"}
	for _, href := range append(allowed, refused...) {
		isAllowed := slices.Contains(allowed, href)
		for what, err := range map[string]error{
			"the address of a step": checkStep(&taskspb.Step{Id: "s", Href: href}),
			"the page of a step":    checkStep(&taskspb.Step{Id: "s", Ui: href}),
			"the address of a link": checkLinks([]*taskspb.Link{{Type: "l", Href: href}}),
		} {
			if isAllowed && err != nil {
				t.Errorf("%s %q: %v", what, href, err)
			}
			if !isAllowed && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), what)) {
				t.Errorf("%s %q: %v", what, href, err)
			}
		}
	}
}

// The content type of an output must be a media type.
func TestContentTypes(t *testing.T) {
	for media, allowed := range map[string]bool{"": true, "text/plain": true, "text/plain; charset=utf-8": true, "nonsense": false, "a/b/c": false, "text/": false} {
		if err := checkMediaType("it", media); (err == nil) != allowed || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", media, err)
		}
	}
	r := newRig(t, setup{})
	_, err := r.putOutput(t.Context(), "A", r.makeTask(nil).GetId(), &taskspb.Output{Name: "x", ContentType: "nonsense"})
	r.refused(err, ErrInvalid)
}
