package packager

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"dormouse/shell"
)

// TestProfileOfAPackage has the instances of a package found by what plugin.toml says of them,
// and calls checked by the schemas in the package, also after an upgrade.
func TestProfileOfAPackage(t *testing.T) {
	run(t, func(r *rig) {
		dir := r.write(manifestText("p", "1.0.0", "tags = [\"bird\"]") + instanceText("P", "1", "") +
			"[[type]]\nname = \"talker\"\nversion = \"1.0.0\"\nmethods = { say = \"say.json\" }\n[[use]]\ntype = \"listener\"\n")
		r.must(os.WriteFile(filepath.Join(dir, "say.json"), []byte(`{"type":"object","required":["word"]}`), 0o600))
		r.install(dir)
		expect := func(use shell.Use, want int) {
			found, err := r.supervisor.Find("", use)
			if err != nil || len(found) != want {
				r.Errorf("%s: found %v, %v; want %d", use, found, err, want)
			}
		}
		expect(shell.Use{Type: "talker", Tags: []string{"bird"}, Range: "^1"}, 1)
		sh, _ := r.supervisor.Shell("P")
		if _, err := sh.Invoke(r.Context(), shell.Call{Method: "say", Params: json.RawMessage(`{}`)}); !errors.Is(err, shell.ErrInvalidParams) {
			r.Errorf("a call that does not fit: %v", err)
		}
		if unmet := r.supervisor.UnmetUses("P"); len(unmet) != 1 || unmet[0].String() != "P uses listener, which no instance provides" {
			r.Errorf("unmet: %v", unmet)
		}
		r.install(r.write(manifestText("p", "2.0.0", "") + instanceText("P", "1", "") + "[[type]]\nname = \"talker\"\nversion = \"2.0.0\"\n"))
		expect(shell.Use{Type: "talker", Range: "^1"}, 0)
		expect(shell.Use{Type: "talker", Range: "^2"}, 1)
		if _, err := sh.Invoke(r.Context(), shell.Call{Method: "say", Params: json.RawMessage(`{}`)}); errors.Is(err, shell.ErrInvalidParams) {
			r.Errorf("after the upgrade: %v", err)
		}
	})
}
