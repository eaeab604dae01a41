package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/plugins/controller/controllerpb"
)

// storeClone puts a clone into the root's store as the first version of a host did: with a
// full copy of the source's configuration.
func storeClone(t *testing.T, root, of string, p configs.Plugin) {
	t.Helper()
	s, err := store.Open(filepath.Join(root, "store.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	record := map[string]any{"version": 1, "of": of, "plugin": p}
	if err := errors.Join(store.BucketOf[map[string]any](s, "clones").Put(p.Callsign, record), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// A callsign that calls would read as something else is refused by each front and verb, and
// a clone that an earlier host gave one can only be destroyed, by each of them.
func TestMisreadCallsigns(t *testing.T) {
	const text = `
[[plugin]]
callsign = "Counter"
executable = "EXAMPLES/counter"
start-mode = "activated"
`
	root := t.TempDir()
	for _, callsign := range []string{"Counter.1", "Counter.rpc", "rpc.Counter"} {
		p := configs.DefaultPlugin()
		p.Callsign, p.Executable, p.StartMode = callsign, filepath.Join(examples, "counter"), configs.StartActivated
		storeClone(t, root, "Counter", p)
		if err := os.MkdirAll(filepath.Join(root, "persistent", callsign), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	h := startHost(t, root, text)
	h.wait(t, "ready")

	const why = `"Counter.1" can't be a callsign: a call of "Counter.1.method" means "method" of "Counter" in version 1; call it "Counter-1", for example`
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "deactivated", why)
	h.dormouse(t, "plugin", "show", "Counter.1").expect(t, exitDone, "deactivated", why)
	h.dormouse(t, "plugin", "explain", "Counter.1").expect(t, exitDone, "can't be activated: "+why, "destroy this one")
	h.dormouse(t, "plugin", "activate", "Counter.1").expect(t, exitFailed, "!"+why)
	h.dormouse(t, "plugin", "clone", "Counter", "Counter.2").expect(t, exitFailed, `!dormouse: cannot clone Counter: "Counter.2" can't be`, `!call it "Counter-2", for example`)
	h.dormouse(t, "call", "Controller.clone", `{"callsign":"Counter","newcallsign":"Rpc"}`).expect(t, exitFailed, `!call it "Rpc-1", for example`)
	native, _ := h.nativeClient(t)
	for _, name := range []string{"Counter.3", "Counter.RPC", "rpc.X"} {
		_, err := native.Controller().Clone(t.Context(), &controllerpb.CloneRequest{Callsign: "Counter", NewCallsign: name})
		if err == nil {
			t.Errorf("%s is cloned", name)
		}
	}

	h.dormouse(t, "plugin", "destroy", "Counter.1").expect(t, exitDone, "Counter.1 is gone")
	h.dormouse(t, "call", "Controller.destroy", `{"callsign":"Counter.rpc"}`).expect(t, exitDone)
	if _, err := native.Controller().Destroy(t.Context(), &controllerpb.InstanceRequest{Callsign: "rpc.Counter"}); err != nil {
		t.Error(err)
	}
	if _, err := native.Shell("rpc.Counter").Status(t.Context(), nil); status.Code(err) != codes.NotFound {
		t.Errorf("the status of what is destroyed: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(root, "persistent")); err != nil || len(left) != 2 { // a mark, and that of Counter
		t.Errorf("what was kept of them is left: %v, %v", left, err)
	}
	h.end(t)

	h = startHost(t, root, text)
	h.wait(t, "ready")
	for _, callsign := range []string{"Counter.1", "Counter.rpc", "rpc.Counter"} {
		h.dormouse(t, "plugin", "show", callsign).expect(t, exitFailed, "!there is no instance")
	}
}

// A callsign that calls would read as something else is refused in each file, at the start
// and in a reload, with its line.
func TestMisreadCallsignsInFiles(t *testing.T) {
	const good = "[[plugin]]\ncallsign = \"Counter\"\nexecutable = \"EXAMPLES/counter\"\n"
	const bad = "\n[[plugin]]\ncallsign = \"Counter.1\"\nexecutable = \"EXAMPLES/counter\"\n"
	const why = `:6: key "callsign" in [[plugin]]: "Counter.1" can't be a callsign: `
	cmd := hostCommand(t, t.TempDir(), good+bad)
	dormouse(t, nil, "config", "check", "--config", configOf(cmd.Args)).expect(t, exitFailed, why)

	rewrite(t, configOf(cmd.Args), good)
	h := startCommand(t, t.TempDir(), cmd)
	h.wait(t, "ready")
	rewrite(t, configOf(cmd.Args), good+bad)
	h.dormouse(t, "reload").expect(t, exitFailed, "!"+why)
	rewrite(t, configOf(cmd.Args), good)
	dropIn := filepath.Join(filepath.Dir(configOf(cmd.Args)), "plugins.d", "a.toml")
	if err := os.MkdirAll(filepath.Dir(dropIn), 0o700); err != nil {
		t.Fatal(err)
	}
	rewrite(t, dropIn, "\n\n\n"+bad)
	h.dormouse(t, "reload").expect(t, exitFailed, "!"+why)
	h.dormouse(t, "plugin", "show", "Counter.1").expect(t, exitFailed)
	h.end(t)

	// A start goes on without the drop-in; without the main file it does not.
	h = startCommand(t, t.TempDir(), command(t.Context(), nil, cmd.Args[1:]...))
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "Counter", dropIn+":6")
	h.dormouse(t, "plugin", "show", "Counter.1").expect(t, exitFailed, "!there is no instance")
	h.end(t)
	rewrite(t, configOf(cmd.Args), good+bad)
	dormouse(t, nil, cmd.Args[1:]...).expect(t, exitFailed, "!"+why)
}

// A clone follows its source through reloads and restarts of the host, and when the source
// is gone it goes on with the last configuration and each view says so.
func TestCloneFollowsItsSource(t *testing.T) {
	const text = "[[plugin]]\ncallsign = \"Counter\"\nexecutable = \"EXAMPLES/counter\"\nconfiguration = { start = 5 }\n"
	root := t.TempDir()
	cmd := hostCommand(t, root, text)
	h := startCommand(t, root, cmd)
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "clone", "Counter", "Copy").expect(t, exitDone)
	h.dormouse(t, "plugin", "clone", "Counter", "Own").expect(t, exitDone)
	h.dormouse(t, "plugin", "configure", "Own", `{"start":100}`, "--keep").expect(t, exitDone)
	h.dormouse(t, "plugin", "activate", "Copy", "Own").expect(t, exitDone)
	rewrite(t, configOf(cmd.Args), strings.Replace(text, "5", "7", 1))
	if got := h.hangUp(t, 1); got != "reloadedCopy: restarted, its configuration differs; Counter: reconfigured, its configuration differs" {
		t.Errorf("got %s", got)
	}
	h.dormouse(t, "call", "Copy.get").expect(t, exitDone, `{"value":7}`)
	h.dormouse(t, "call", "Own.get").expect(t, exitDone, `{"value":100}`)
	h.dormouse(t, "plugin", "show", "Own").expect(t, exitDone, "clone of", "Counter", "configuration.start")

	rewrite(t, configOf(cmd.Args), "")
	const gone = "the last configuration of Counter, which is gone"
	if got := h.hangUp(t, 2); !strings.Contains(got, "Copy: keeps "+gone) {
		t.Errorf("got %s", got)
	}
	for range 2 { // before and after a restart of the host
		h.wait(t, "the source of this clone is gone, the clone keeps its last configuration")
		h.dormouse(t, "plugin", "list").expect(t, exitDone, gone)
		h.dormouse(t, "plugin", "show", "Copy").expect(t, exitDone, gone)
		h.dormouse(t, "plugin", "explain", "Copy").expect(t, exitDone, "last one of Counter, which is gone")
		h.dormouse(t, "plugin", "activate", "Copy", "Own").expect(t, exitDone)
		h.dormouse(t, "call", "Copy.get").expect(t, exitDone, `{"value":7}`)
		h.dormouse(t, "call", "Own.get").expect(t, exitDone, `{"value":100}`)
		h.end(t)
		h = startHost(t, root, "")
		h.wait(t, "ready")
	}
	native, _ := h.nativeClient(t)
	if st, err := native.Shell("Own").Status(t.Context(), nil); err != nil || !st.GetSource().GetGone() || st.GetSource().GetCallsign() != "Counter" {
		t.Errorf("its status has the source %v, %v", st.GetSource(), err)
	}
	if show := h.show(t, "Own").Clone; show == nil || !show.Gone || show.Of != "Counter" {
		t.Errorf("its record has the source %+v", show)
	}
}
