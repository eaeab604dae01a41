package host

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/hibernate"
)

// The configuration knows the built-ins that a host has.
func TestBuiltins(t *testing.T) {
	if diff := cmp.Diff(configs.Builtins, slices.Sorted(maps.Keys((&Host{}).builtinClasses()))); diff != "" {
		t.Errorf("configs.Builtins (-) and the host's classes (+):\n%s", diff)
	}
}

// A host that can't encrypt what it should encrypt does not start.
func TestImageKey(t *testing.T) {
	images, err := hibernate.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "key"), filepath.Join(dir, "bad")
	for path, text := range map[string]string{good: strings.Repeat("0f", 32), bad: "too short"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		config  configs.Hibernate
		problem string
	}{
		"nothing asked for": {},
		"no key":            {config: configs.Hibernate{Encrypt: true}, problem: "there is no key"},
		"key file":          {config: configs.Hibernate{Encrypt: true, KeyFile: good}},
		"no such file":      {config: configs.Hibernate{KeyFile: good + "x"}, problem: "no such file"},
		"no key in it":      {config: configs.Hibernate{Encrypt: true, KeyFile: bad}, problem: "64 hexadecimal digits"},
	} {
		err := readKeyAndSetPacking(images, test.config)
		if (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s: got error %v, want %q", name, err, test.problem)
		}
	}
}
