package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const bothExamples = `
[[plugin]]
callsign = "Counter"
executable = "EXAMPLES/counter"
start-mode = "activated"
configuration = { start = 41 }

[[plugin]]
callsign = "Echo"
executable = "EXAMPLES/echo"
start-mode = "activated"

[[plugin]]
callsign = "Missing"
executable = "EXAMPLES/no-such-plugin"
start-mode = "activated"
`

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
		part string
	}{
		{"", exitUsage, "!Usage: dormouse VERB"},
		{"help", exitDone, "plugin hibernate [NAME...]"},
		{"--help", exitDone, "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no host reached"},
		{"help plugin show", exitDone, "dormouse plugin show Counter"},
		{"plugin", exitUsage, "!plugin list"},
		{"plugin --help", exitDone, "plugin list"},
		{"plugin lst", exitUsage, "!did you mean plugin list?"},
		{"servo", exitUsage, "!did you mean serve?"},
		{"--host x plugin list", exitUsage, "!the verb comes before its flags"},
		{"plugin show", exitUsage, "!NAME is missing"},
		{"plugin show A B", exitUsage, `!"B" is one argument too many`},
		{"plugin list --no-such", exitUsage, "!there is no flag --no-such here"},
		{"plugin list -o xml", exitUsage, "!it must be table or json"},
		{"plugin list --host nowhere", exitUsage, "!is not an address"},
		{"call Counter", exitUsage, "!is not CALLSIGN.METHOD"},
		{"call Counter.get {", exitUsage, "!must be JSON"},
		{"version", exitDone, "dormouse dev"},
		{"version -o json", exitDone, `"version": "dev"`},
		{"plugin list --host 127.0.0.1:1", exitUnreachable, "!no host reached at 127.0.0.1:1"},
		{"plugin activate A B --host 127.0.0.1:1", exitUnreachable, "!serve`"},
		{"events --host 127.0.0.1:1", exitUnreachable, "!no host reached"},
	} {
		t.Run(c.line, func(t *testing.T) {
			dormouse(t, nil, strings.Fields(c.line)...).expect(t, c.code, c.part)
		})
	}
}

func TestEveryVerbTeaches(t *testing.T) {
	for _, v := range verbs() {
		help := v.helpText()
		if !strings.Contains(help, "Example:\n  dormouse ") || v.summary == "" {
			t.Errorf("dormouse %s --help has no example or no summary:\n%s", v.name, help)
		}
		if strings.Contains(help, "(default false)") {
			t.Errorf("dormouse %s --help says of a switch that it is off:\n%s", v.name, help)
		}
	}
}

// callsigns returns the callsigns of the records.
func callsigns(all []instanceRecord) (names []string) {
	for _, r := range all {
		names = append(names, r.Callsign)
	}
	return names
}

func TestClientVerbs(t *testing.T) {
	h := startHost(t, t.TempDir(), bothExamples)
	h.wait(t, "ready")

	t.Run("list", func(t *testing.T) {
		r := h.dormouse(t, "plugin", "list").expect(t, exitDone, "NAME", "Counter     resumed", "Echo        activated")
		if !strings.Contains(r.out, "instantiation failed: ") || !strings.Contains(r.out, "no-such-plugin does not exist") {
			t.Errorf("the list does not say why Missing is not active:\n%s", r.out)
		}
		var all []instanceRecord
		if err := json.Unmarshal([]byte(h.dormouse(t, "plugin", "list", "-o", "json").out), &all); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(callsigns(all), []string{"Controller", "Counter", "Echo", "Flows", "Missing", "Packager", "State", "Tasks", "Webhooks"}) || all[1].Callsign != "Counter" || all[1].PID == 0 || all[1].Memory == 0 {
			t.Errorf("got %q, the second with pid %d", callsigns(all), all[1].PID)
		}
	})
	t.Run("show", func(t *testing.T) {
		h.dormouse(t, "plugin", "show", "Counter").expect(t, exitDone, "class          counter 1.0.0", `{"start":41}`, "activation → activated")
		h.dormouse(t, "plugin", "show", "Missing").expect(t, exitDone, "instantiation failed")
		h.dormouse(t, "plugin", "show", "count").expect(t, exitFailed, `!there is no instance "count"; did you mean Counter?`)
	})
	t.Run("call", func(t *testing.T) {
		h.dormouse(t, "call", "Counter.increment", `{"by":1}`).expect(t, exitDone, `{"value":42}`)
		h.dormouse(t, "call", "Counter.1.get").expect(t, exitDone, `{"value":42}`)
		params := filepath.Join(t.TempDir(), "params.json")
		if err := os.WriteFile(params, []byte(`{"said":"hello"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		h.dormouse(t, "call", "Echo.echo", "@"+params).expect(t, exitDone, `{"said":"hello"}`)
		h.dormouse(t, "call", "Counter.nothing").expect(t, exitFailed, "!cannot call Counter.nothing", "!(error -32601")
		h.dormouse(t, "call", "Nobody.get").expect(t, exitFailed, `!there is no instance "Nobody"`, "!Counter")
		h.dormouse(t, "call", "Missing.get").expect(t, exitFailed, "!plugin activate Missing --host "+h.address)
	})
	t.Run("lifecycle", func(t *testing.T) {
		h.dormouse(t, "plugin", "hibernate", "Counter").expect(t, exitFailed, "!it is resumed, suspend it first", "!plugin suspend Counter")
		h.dormouse(t, "plugin", "suspend", "Echo").expect(t, exitFailed, "!cannot suspend Echo: the instance has no state control")
		h.dormouse(t, "plugin", "suspend", "Counter").expect(t, exitDone, "Counter suspended, ")
		h.dormouse(t, "plugin", "suspend", "Counter").expect(t, exitDone, "Counter was suspended already")
		h.dormouse(t, "plugin", "deactivate", "Echo", "Counter").expect(t, exitDone, "Echo deactivated, ", "Counter deactivated, ")
		h.dormouse(t, "plugin", "activate", "Nobody", "Echo", "-o", "json").expect(t, exitFailed, `"callsign": "Echo"`, `"error": "cannot activate Nobody`)
		h.dormouse(t, "plugin", "resume", "Counter").expect(t, exitDone, "Counter resumed, pid ")
		h.dormouse(t, "plugin", "activate", "Missing").expect(t, exitFailed, "!cannot activate Missing: ", "!does not exist")
		h.dormouse(t, "plugin", "deactivate", "Controller").expect(t, exitFailed, "!cannot deactivate Controller")
		h.dormouse(t, "plugin", "restart", "Counter", "Missing").expect(t, exitFailed, "Counter started anew: resumed, pid ", "!cannot restart Missing: ")
	})
}

func TestEvents(t *testing.T) {
	root := passableDir(t)
	h := startHost(t, root, bothExamples)
	h.wait(t, "ready")
	h.dormouse(t, "events", "Conter").expect(t, exitFailed, "!did you mean Counter?")

	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	follow := command(ctx, nil, "events", "Counter", "--host", "unix:"+filepath.Join(root, "run", "control"), "-o", "json")
	out, err := follow.StdoutPipe()
	if err == nil {
		err = follow.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for observers := 0; observers < 1 && ctx.Err() == nil; { // until it has subscribed
		observers = h.show(t, "Controller").Observers
	}
	h.dormouse(t, "call", "Echo.echo", `{"not":"asked for"}`).expect(t, exitDone)
	h.dormouse(t, "call", "Counter.increment").expect(t, exitDone)
	h.dormouse(t, "plugin", "suspend", "Counter").expect(t, exitDone)
	h.dormouse(t, "plugin", "deactivate", "Counter").expect(t, exitDone)

	lines := bufio.NewScanner(out)
	for _, want := range []string{"changed", controlEvent, "statechange"} {
		var e event
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &e) != nil || e.Callsign != "Counter" || e.Event != want {
			t.Fatalf("got %q, want the event %s", lines.Text(), want)
		}
	}
	if err := follow.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := follow.Wait(); err != nil {
		t.Errorf("Ctrl-C ended it with %v", err)
	}
}
