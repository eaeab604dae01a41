package configs

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"dormouse/internal/tomltable"
)

// configFile is a configuration file while it is read.
type configFile struct {
	*configLoad
	path   string // as errors name the file
	dir    string // absolute; relative paths in the file start from this directory
	dropIn bool

	plugins  []Plugin
	overlays []Overlay
	// named are the callsigns of the plugins that are well-formed, and isComplete reports
	// whether the file names no others.
	named      []string
	isComplete bool

	// anySubsystem reports whether instances may name any subsystem; else they may name those
	// in subsystems, or if that is nil those of the configuration.
	anySubsystem bool
	subsystems   []string
}

// decode reads the text of the file, and reports each fault. Of a text that is not valid
// TOML it takes no more than the callsigns that it can guess.
func (f *configFile) decode(text []byte) {
	f.named = guessCallsigns(text)
	table, ok := (&tomltable.File{Path: f.path, Dir: f.dir, Faults: &f.problems}).Decode(text)
	if !ok {
		return
	}
	f.named = nil
	top := &tableReader{table, f}
	host := top.table("host", "in [host]", "a table, written [host]")
	listeners := top.tables("listener")
	access := top.tables("access")
	packages := top.table("packages", "in [packages]", "a table, written [packages]")
	flows := top.table("flows", "in [flows]", "a table, written [flows]")
	qhana := top.table("qhana", "in [qhana]", "a table, written [qhana]")
	webhooks := top.table("webhooks", "in [webhooks]", "a table, written [webhooks]")
	state := top.table("state", "in [state]", "a table, written [state]")
	tasks := top.table("tasks", "in [tasks]", "a table, written [tasks]")
	hibernate := top.table("hibernate", "in [hibernate]", "a table, written [hibernate]")
	plugins := top.tables("plugin")
	allKnown := top.ReportUnknownKeys()
	if f.dropIn {
		f.rejectTablesInDropIn(top, "host", "listener", "access", "packages", "flows", "qhana", "webhooks", "state", "tasks", "hibernate")
	} else {
		f.readHost(host)
		for _, listener := range listeners {
			f.readListener(listener)
		}
		for _, row := range access {
			f.readAccess(row)
		}
		f.readPackages(packages)
		f.readFlows(flows)
		f.readQHAna(qhana)
		f.readWebhooks(webhooks)
		f.readState(state)
		f.readTasks(tasks)
		f.readHibernate(hibernate)
	}
	for _, plugin := range plugins {
		if plugin.Has("package") {
			f.readOverlay(plugin)
		} else {
			f.readPlugin(plugin)
		}
	}
	if !f.dropIn {
		f.noteOrigins("state", state.Table)
		f.noteOrigins("qhana", qhana.Table)
		f.noteOrigins("webhooks", webhooks.Table)
		f.noteOrigins("tasks", tasks.Table)
	}
	f.noteOriginsOfAll(host, packages, hibernate, listeners, access, plugins)
	f.isComplete = allKnown && (plugins != nil || !top.Has("plugin")) && len(f.named) == len(plugins)
}

// rejectTablesInDropIn reports those of the tables that a drop-in has. They may only be in the
// main file, so that no drop-in can change the host.
func (f *configFile) rejectTablesInDropIn(top *tableReader, tables ...string) {
	for _, key := range tables {
		if top.Has(key) {
			top.AddProblem(key, "[%s] must not stand in a drop-in, which may hold [[plugin]] tables only", key)
		}
	}
}

// minMemory is the least that [host] memory may be: an eighth of it, the part of one client,
// holds a message of 8 MiB and what goes with it.
const minMemory Bytes = 96 << 20

// readHost reads the table [host].
func (f *configFile) readHost(t *tableReader) {
	h := &f.config.Host
	t.ReadPath("root", &h.Root, checkNotEmpty)
	t.ReadText("listen", &h.Listen, checkAddress)
	t.readTLS(&h.TLS)
	f.listenAt = filePosition{f.path, t.Line("listen")}
	t.ReadPath("communicator", &h.Communicator, checkNotEmpty)
	t.ReadPath("control", &h.Control)
	readAllowedWord(t, "log-level", &h.LogLevel, logLevels...)
	readAllowedWord(t, "log-format", &h.LogFormat, logFormats...)
	t.ReadTextList("allowed-origins", &h.AllowedOrigins, checkWebOrigin)
	t.ReadTextList("allowed-hosts", &h.AllowedHosts, checkHostName)
	t.ReadText("public-url", &h.PublicURL, CheckPublicURL)
	h.PublicURL = strings.TrimRight(h.PublicURL, "/")
	readAllowedWord(t, "dialect", &h.Dialect, DialectR4, DialectR5)
	t.ReadText("communicator-group", &h.CommunicatorGroup)
	readAllowedWord(t, "open", &h.Open, "", RoleRead, RoleCall, RoleOperate, RoleAdmin)
	t.ReadText("redirect", &h.Redirect, checkNotEmpty)
	t.ReadPath("web-ui", &h.WebUI)
	readAllowedWord(t, "web-ui-dialect", &h.WebUIDialect, "", DialectR4, DialectR5)
	t.ReadPath("data", &h.Data, checkNotEmpty)
	t.ReadTextList("subsystems", &h.Subsystems, CheckNewSubsystem)
	t.ReadTextList("environment", &h.Environment, checkVariableName)
	t.ReadTextList("reboot", &h.Reboot)
	t.refersTo(ReferenceGroup, "communicator-group", h.CommunicatorGroup)
	t.refersTo(ReferenceDir, "web-ui", h.WebUI)
	t.refersTo(ReferenceDir, "data", h.Data)
	if len(h.Reboot) > 0 {
		t.refersTo(ReferenceProgram, "reboot", h.Reboot[0])
	}
	readAllowedWord(t, "on-host-exit", &h.OnHostExit, HostExitStop, HostExitAdopt)
	t.ReadTextList("exit-reasons", &h.ExitReasons, func(s string) error { return tomltable.CheckOneOf(s, exitReasons) })
	t.ReadInteger("post-mortems", &h.PostMortems, 0, 1000)
	t.readSize("memory", &h.Memory, minMemory)
	t.readSize("client-memory", &h.ClientMemory, 0)
	if m := h.ClientMemory; m != 0 && (m < minMemory/8 || m > h.MessageMemory()) {
		t.AddProblem("client-memory", `key "client-memory" %s: %s is not between %s and half of memory, %s`, t.Name, m, minMemory/8, h.MessageMemory())
	}
	t.ReadInteger("clones", &h.Clones, 1, 100000)
	t.ReportUnknownKeys()
}

// readListener reads a table [[listener]] and adds the listener to the configuration.
func (f *configFile) readListener(t *tableReader) {
	l := Listener{Protocol: ProtocolJSONRPC, Dialect: DialectR4}
	t.ReadText("address", &l.Address, checkAddress)
	readAllowedWord(t, "protocol", &l.Protocol, ProtocolJSONRPC, ProtocolGRPC)
	readAllowedWord(t, "dialect", &l.Dialect, DialectR4, DialectR5)
	if t.Has("dialect") && l.Protocol == ProtocolGRPC {
		t.AddProblem("dialect", `key "dialect" %s goes with protocol = "jsonrpc" only`, t.Name)
	}
	readAllowedWord(t, "only", &l.Only, "", OnlyQHAna)
	if l.Only != "" && (t.Has("dialect") || l.Protocol == ProtocolGRPC) {
		t.AddProblem("only", `key "only" %s goes with neither "dialect" nor protocol = "grpc"`, t.Name)
	}
	t.readTLS(&l.TLS)
	t.ReportMissingKeys("address")
	t.ReportUnknownKeys()
	f.config.Listeners = append(f.config.Listeners, l)
	f.listenersAt = append(f.listenersAt, filePosition{f.path, t.Line("address")})
}

// readHibernate reads the table [hibernate].
func (f *configFile) readHibernate(t *tableReader) {
	h := &f.config.Hibernate
	t.ReadProgramPath("criu", &h.Criu)
	t.ReadPath("dir", &h.Dir)
	t.readDuration("timeout", &h.Timeout)
	t.ReadParsed("budget", `a size such as "64MiB"`, &h.Budget)
	readAllowedWord(t, "on-budget", &h.OnBudget, OnBudgetRefuse, OnBudgetEvict)
	t.ReadParsed("reserve", `a size such as "64MiB"`, &h.Reserve)
	t.ReadInteger("parallel", &h.Parallel, 0, 1000)
	readAllowedWord(t, "unknown", &h.Unknown, UnknownRefuse, UnknownTry)
	t.ReadBool("encrypt", &h.Encrypt)
	t.ReadPath("key-file", &h.KeyFile)
	readAllowedWord(t, "compress", &h.Compress, CompressNone, CompressZstd)
	t.refersTo(ReferenceProgram, "criu", h.Criu)
	t.refersTo(ReferenceFile, "key-file", h.KeyFile)
	readTiers(t, &h.Tiers)
	t.ReportUnknownKeys()
}

// readPlugin reads a table [[plugin]] and adds the instance to those of the file, with the
// values that are right if others are wrong.
func (f *configFile) readPlugin(t *tableReader) {
	p := DefaultPlugin()
	f.readInstance(t, &p)
	t.ReportMissingKeys("callsign")
	if t.Has("executable") == (p.Builtin != "") {
		t.AddProblem("", "one of the keys \"executable\", \"builtin\" and \"package\" must stand %s", t.Name)
	}
	t.ReportUnknownKeys()
	f.claimOrReportCallsign(t, p.Callsign)
	f.plugins = append(f.plugins, p)
}

// readInstance reads the keys that all instances have. It does not report which keys are
// missing or unknown.
func (f *configFile) readInstance(t *tableReader, p *Plugin) {
	t.ReadText("callsign", &p.Callsign, CheckCallsign)
	t.ReadProgramPath("executable", &p.Executable, checkNotEmpty)
	t.ReadText("builtin", &p.Builtin)
	if err := checkBuiltin(p.Builtin); err != nil {
		t.AddProblem("builtin", "key \"builtin\" %s: %w", t.Name, err)
	}
	t.ReadTextList("arguments", &p.Arguments)
	t.ReadTextMap("environment", &p.Environment, checkVariableName)
	readAllowedWord(t, "start-mode", &p.StartMode, StartDeactivated, StartActivated, StartUnavailable)
	t.ReadInteger("startup-order", &p.StartupOrder, math.MinInt32, math.MaxInt32)
	t.ReadOptionalBool("resumed", &p.Resume)
	t.ReadTextList("precondition", &p.Preconditions, f.checkSubsystem)
	t.ReadTextList("termination", &p.Terminations, f.checkTermination)
	t.ReadTextList("control", &p.Controls, f.checkSubsystem)
	t.ReadTextList("requires", &p.Requires, CheckCallsign)
	t.ReadBool("probe", &p.Probe)
	f.readRestart(t, &p.Restart)
	ReadLimits(t.Table, &p.Limits)
	t.ReadPath("web-ui", &p.WebUI)
	readAllowedWord(t, "web-ui-dialect", &p.WebUIDialect, "", DialectR4, DialectR5)
	t.ReadPath("data", &p.Data)
	readAllowedWord(t, "on-call", &p.OnCall, OnCallReject, OnCallWake)
	readIdling(t, &p.Idling)
	t.ReadJSONTable("configuration", &p.Configuration)
	t.readDuration("start-timeout", &p.StartTimeout)
	t.readDuration("stop-timeout", &p.StopTimeout)
	t.readDuration("call-timeout", &p.CallTimeout)
	t.ReadParsed("log-rate", `a size such as "64MiB"`, &p.LogRate)
	readAllowedWord(t, "wake", &p.Wake, WakeAuto, WakeEager, WakeLazy)
	readAllowedWord(t, "sleep", &p.Sleep, SleepAuto, SleepCheckpoint, SleepPageOut)
	t.readOptionalDuration("checkpoint-after", &p.CheckpointAfter)
	readAllowedWord(t, "on-failed-wake", &p.OnFailedWake, FailedWakeColdStart, FailedWakeKeep, FailedWakeDeactivate)
	t.ReadBool("warm-start", &p.WarmStart)
	t.refersTo(ReferenceProgram, "executable", p.Executable)
	t.refersTo(ReferenceDir, "web-ui", p.WebUI)
	t.refersTo(ReferenceDir, "data", p.Data)
	if p.Builtin != "" && p.Limits != (Limits{}) {
		t.AddProblem("limits", "key \"limits\" %s goes with \"executable\" only", t.Name)
	}
	if p.CheckpointAfter != nil && p.Sleep != SleepAuto {
		t.AddProblem("checkpoint-after", "key \"checkpoint-after\" %s goes with sleep = \"auto\" only", t.Name)
	}
}

// checkSubsystem returns an error if neither Thunder nor the operator defines a subsystem
// of that name. The operator's subsystems are in the main file, which is read first.
func (f *configFile) checkSubsystem(name string) error {
	return CheckSubsystem(name, f.knownSubsystems(name), false)
}

// checkTermination returns an error if the name, after an optional "!", is not a subsystem
// that Thunder or the operator defines.
func (f *configFile) checkTermination(name string) error {
	return CheckSubsystem(name, f.knownSubsystems(name), true)
}

// knownSubsystems returns the subsystems that instances of the file may name. Where they may
// name any, the one of that name is among them if it is well-formed.
func (f *configFile) knownSubsystems(name string) []string {
	switch subsystem, _ := SplitTermination(name); {
	case f.anySubsystem && subsystemForm.MatchString(subsystem):
		return append(slices.Clone(Subsystems), subsystem)
	case f.subsystems != nil:
		return f.subsystems
	}
	return f.config.Host.AllSubsystems()
}

// readRestart reads the table "restart" of a plugin.
func (f *configFile) readRestart(t *tableReader, r *Restart) {
	t = t.table("restart", "in the restart table "+t.Name, "a table")
	readAllowedWord(t, "policy", &r.Policy, RestartNever, RestartOnFailure, RestartAlways)
	t.ReadInteger("limit", &r.Limit, 0, 1000)
	t.readDuration("window", &r.Window)
	t.readDuration("backoff", &r.Backoff)
	t.ReportUnknownKeys()
}

// claimOrReportCallsign notes that the plugin that t reads has the callsign. It reports a
// callsign that another configured plugin has already, without regard to case. It does
// nothing for "".
func (f *configFile) claimOrReportCallsign(t *tableReader, callsign string) {
	if callsign == "" {
		return // missing or malformed, and reported as such
	}
	f.named = append(f.named, callsign)
	folded := strings.ToLower(callsign)
	if first, taken := f.callsigns[folded]; taken {
		t.AddProblem("callsign", "the callsign %q is taken by the plugin at %s", callsign, first)
		return
	}
	f.callsigns[folded] = filePosition{f.path, t.Line("callsign")}
}

// checkVariableName returns an error if no environment variable can have the name: it is
// empty or has a "=".
func checkVariableName(name string) error {
	if name == "" || strings.Contains(name, "=") {
		return fmt.Errorf(`%q is not the name of a variable`, name)
	}
	return nil
}
