package configs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// file is one file while it is read into a load.
type file struct {
	*load
	path   string // as problems name it
	dir    string // absolute: what relative paths in the file start from
	dropIn bool
}

// decode reads a whole file into the configuration of the load. One that is not
// TOML changes nothing.
func (f *file) decode(text []byte) {
	if line := notText(text); line > 0 {
		f.problems.add(f.path, line, errors.New("not UTF-8 text"))
		return
	}
	if line := tooDeep(string(text)); line > 0 {
		f.problems.add(f.path, line, fmt.Errorf("tables or lists are nested deeper than %d levels", deepest))
		return
	}
	var values map[string]any
	meta, err := toml.Decode(string(text), &values)
	if err != nil {
		line, err := syntaxError(string(text), err)
		f.problems.add(f.path, line, err)
		return
	}
	top := &table{
		file:   f,
		name:   "at the top level",
		place:  placesOf(string(text), meta.Keys()),
		values: values,
	}
	host, _ := get[map[string]any](top, "host", "a table, written [host]")
	listeners, _ := get[[]map[string]any](top, "listener", "a list of tables, each written [[listener]]")
	hibernate, _ := get[map[string]any](top, "hibernate", "a table, written [hibernate]")
	plugins, _ := get[[]map[string]any](top, "plugin", "a list of tables, each written [[plugin]]")
	top.unknown()
	if f.dropIn {
		f.refuse(top, "host", "listener", "hibernate")
	} else {
		f.readHost(&table{file: f, name: "in [host]", place: top.place.key("host"), values: host})
		for i, listener := range listeners {
			f.readListener(&table{file: f, name: "in [[listener]]", place: top.place.key("listener").element(i), values: listener})
		}
		f.readHibernate(&table{file: f, name: "in [hibernate]", place: top.place.key("hibernate"), values: hibernate})
	}
	for i, plugin := range plugins {
		f.readPlugin(&table{file: f, name: "in [[plugin]]", place: top.place.key("plugin").element(i), values: plugin})
	}
}

// refuse reports tables that belong in the main file only, so that no drop-in
// can move the host.
func (f *file) refuse(top *table, keys ...string) {
	for _, key := range keys {
		if _, given := top.values[key]; given {
			top.problem(top.place.key(key), "[%s] must not stand in a drop-in, which may hold [[plugin]] tables only", key)
		}
	}
}

func (f *file) readHost(t *table) {
	h := &f.config.Host
	t.path("root", &h.Root, notEmpty)
	t.text("listen", &h.Listen, checkListen)
	t.path("communicator", &h.Communicator, notEmpty)
	word(t, "log-level", &h.LogLevel, logLevels...)
	word(t, "log-format", &h.LogFormat, logFormats...)
	t.texts("allowed-origins", &h.AllowedOrigins, checkOrigin)
	t.texts("allowed-hosts", &h.AllowedHosts, checkHostName)
	word(t, "dialect", &h.Dialect, DialectR4, DialectR5)
	t.text("communicator-group", &h.CommunicatorGroup)
	t.text("redirect", &h.Redirect, notEmpty)
	t.path("web-ui", &h.WebUI)
	t.path("data", &h.Data, notEmpty)
	t.texts("subsystems", &h.Subsystems, CheckNewSubsystem)
	t.texts("environment", &h.Environment, checkVariable)
	t.texts("reboot", &h.Reboot)
	word(t, "on-host-exit", &h.OnHostExit, HostExitStop, HostExitAdopt)
	t.texts("exit-reasons", &h.ExitReasons, func(s string) error { return oneOf(s, exitReasons) })
	t.integer("post-mortems", &h.PostMortems, 0, 1000)
	t.unknown()
}

func (f *file) readListener(t *table) {
	l := Listener{Dialect: DialectR4}
	t.text("address", &l.Address, checkListen)
	word(t, "dialect", &l.Dialect, DialectR4, DialectR5)
	t.require("address")
	t.unknown()
	f.config.Listeners = append(f.config.Listeners, l)
}

func (f *file) readHibernate(t *table) {
	h := &f.config.Hibernate
	t.program("criu", &h.Criu)
	t.path("dir", &h.Dir)
	t.duration("timeout", &h.Timeout)
	t.parsed("budget", `a size such as "64MiB"`, &h.Budget)
	word(t, "on-budget", &h.OnBudget, OnBudgetRefuse, OnBudgetEvict)
	t.parsed("reserve", `a size such as "64MiB"`, &h.Reserve)
	t.integer("parallel", &h.Parallel, 0, 1000)
	t.boolean("encrypt", &h.Encrypt)
	t.path("key-file", &h.KeyFile)
	word(t, "compress", &h.Compress, CompressNone, CompressZstd)
	readTiers(t, &h.Tiers)
	t.unknown()
}

func (f *file) readPlugin(t *table) {
	p := DefaultPlugin()
	t.text("callsign", &p.Callsign, CheckCallsign)
	t.program("executable", &p.Executable, notEmpty)
	t.text("builtin", &p.Builtin)
	t.texts("arguments", &p.Arguments)
	t.textMap("environment", &p.Environment, checkVariable)
	word(t, "start-mode", &p.StartMode, StartDeactivated, StartActivated, StartUnavailable)
	t.integer("startup-order", &p.StartupOrder, math.MinInt32, math.MaxInt32)
	t.optionalBool("resumed", &p.Resume)
	t.texts("precondition", &p.Preconditions, f.checkSubsystem)
	t.texts("termination", &p.Terminations, f.checkTermination)
	t.texts("control", &p.Controls, f.checkSubsystem)
	t.texts("requires", &p.Requires, CheckCallsign)
	t.boolean("probe", &p.Probe)
	f.readRestart(t, &p.Restart)
	t.path("web-ui", &p.WebUI)
	t.path("data", &p.Data)
	word(t, "on-call", &p.OnCall, OnCallReject, OnCallWake)
	readIdling(t, &p.Idling)
	t.free("configuration", &p.Configuration)
	t.duration("start-timeout", &p.StartTimeout)
	t.duration("stop-timeout", &p.StopTimeout)
	t.duration("call-timeout", &p.CallTimeout)
	word(t, "wake", &p.Wake, WakeAuto, WakeEager, WakeLazy)
	word(t, "sleep", &p.Sleep, SleepAuto, SleepCheckpoint, SleepPageOut)
	t.optionalDuration("checkpoint-after", &p.CheckpointAfter)
	word(t, "on-failed-wake", &p.OnFailedWake, FailedWakeColdStart, FailedWakeDeactivate)
	t.require("callsign")
	if _, program := t.values["executable"]; program == (p.Builtin != "") {
		t.problem(t.place, "one of the keys \"executable\" and \"builtin\" must stand %s", t.name)
	}
	if p.CheckpointAfter != nil && p.Sleep != SleepAuto {
		t.problem(t.place.key("checkpoint-after"), "key \"checkpoint-after\" %s goes with sleep = \"auto\" only", t.name)
	}
	t.unknown()
	f.claim(t, p.Callsign)
	f.config.Plugins = append(f.config.Plugins, p)
}

// checkSubsystem and checkTermination know the site's own subsystems too: the
// main file's [host] is read before any plugin.
func (f *file) checkSubsystem(name string) error {
	return CheckSubsystem(name, f.config.Host.AllSubsystems(), false)
}

func (f *file) checkTermination(name string) error {
	return CheckSubsystem(name, f.config.Host.AllSubsystems(), true)
}

func (f *file) readRestart(t *table, r *Restart) {
	values, _ := get[map[string]any](t, "restart", "a table")
	t = &table{file: f, name: "in the restart table " + t.name, place: t.place.key("restart"), values: values}
	word(t, "policy", &r.Policy, RestartNever, RestartOnFailure, RestartAlways)
	t.integer("limit", &r.Limit, 0, 1000)
	t.duration("window", &r.Window)
	t.duration("backoff", &r.Backoff)
	t.unknown()
}

// claim reports a callsign that another plugin of the load has, in whatever case.
func (f *file) claim(t *table, callsign string) {
	if callsign == "" {
		return // missing or malformed, and reported as such
	}
	at := t.place.key("callsign")
	folded := strings.ToLower(callsign)
	if first, taken := f.callsigns[folded]; taken {
		t.problem(at, "the callsign %q is taken by the plugin at %s", callsign, first)
		return
	}
	f.callsigns[folded] = spot{f.path, at.line}
}

func checkVariable(name string) error {
	if name == "" || strings.Contains(name, "=") {
		return fmt.Errorf(`%q is not the name of a variable`, name)
	}
	return nil
}

// notText returns the line of the first byte that no TOML file may hold, a
// control character or what is not UTF-8, or 0.
func notText(text []byte) int {
	line := 1
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == '\n':
			line++
		case r == '\t' || bytes.HasPrefix(text, []byte("\r\n")):
		case r == utf8.RuneError && size == 1, r < ' ', r == 0x7f:
			return line
		}
		text = text[size:]
	}
	return 0
}

// syntaxError takes the library's error apart into a line and a cause. Its own
// line is one off where it stumbled over a newline or the end of the file; the
// last byte that it looked at is not.
func syntaxError(text string, err error) (int, error) {
	line := 0
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		doc := strings.TrimPrefix(text, "\ufeff")
		last := parse.Position.Start + parse.Position.Len - 1
		line = 1 + strings.Count(doc[:min(max(0, last), len(doc))], "\n")
		err = errors.New(oneLine(strings.TrimSuffix(parse.Message, ".")))
	}
	return line, fmt.Errorf("not valid TOML: %w", err)
}

// oneLine drops what the library took over from the file and a terminal should
// not see.
func oneLine(message string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, message)
}
