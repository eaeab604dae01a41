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

// configFile is a configuration file while it is read.
type configFile struct {
	*configLoad
	path   string // as errors name the file
	dir    string // absolute; relative paths in the file start from this directory
	dropIn bool

	plugins []Plugin
	// named are the callsigns of the plugins that are well-formed, and isComplete reports
	// whether the file names no others.
	named      []string
	isComplete bool
}

// decode reads the text of the file, and reports each fault. Of a text that is not valid
// TOML it takes no more than the callsigns that it can guess.
func (f *configFile) decode(text []byte) {
	f.named = guessCallsigns(text)
	if line := firstLineWithBadByte(text); line > 0 {
		f.problems.add(f.path, line, errors.New("not UTF-8 text"))
		return
	}
	if line := firstLineNestedTooDeep(string(text)); line > 0 {
		f.problems.add(f.path, line, fmt.Errorf("tables or lists are nested deeper than %d levels", maxNesting))
		return
	}
	var values map[string]any
	meta, err := toml.Decode(string(text), &values)
	if err != nil {
		line, err := explainSyntaxError(string(text), err)
		f.problems.add(f.path, line, err)
		return
	}
	f.named = nil
	top := &tableReader{
		file:   f,
		name:   "at the top level",
		lines:  linesOfKeys(string(text), meta.Keys()),
		values: values,
	}
	host, _ := readValue[map[string]any](top, "host", "a table, written [host]")
	listeners, _ := readValue[[]map[string]any](top, "listener", "a list of tables, each written [[listener]]")
	access, _ := readValue[[]map[string]any](top, "access", "a list of tables, each written [[access]]")
	hibernate, _ := readValue[map[string]any](top, "hibernate", "a table, written [hibernate]")
	plugins, _ := readValue[[]map[string]any](top, "plugin", "a list of tables, each written [[plugin]]")
	allKnown := top.reportUnknownKeys()
	if f.dropIn {
		f.rejectTablesInDropIn(top, "host", "listener", "access", "hibernate")
	} else {
		f.readHost(&tableReader{file: f, name: "in [host]", lines: top.lines.keyOrSelf("host"), values: host})
		for i, listener := range listeners {
			f.readListener(&tableReader{file: f, name: "in [[listener]]", lines: top.lines.keyOrSelf("listener").elementOrSelf(i), values: listener})
		}
		for i, row := range access {
			f.readAccess(&tableReader{file: f, name: "in [[access]]", lines: top.lines.keyOrSelf("access").elementOrSelf(i), values: row})
		}
		f.readHibernate(&tableReader{file: f, name: "in [hibernate]", lines: top.lines.keyOrSelf("hibernate"), values: hibernate})
	}
	for i, plugin := range plugins {
		f.readPlugin(&tableReader{file: f, name: "in [[plugin]]", lines: top.lines.keyOrSelf("plugin").elementOrSelf(i), values: plugin})
	}
	_, given := top.values["plugin"]
	f.isComplete = allKnown && (plugins != nil || !given) && len(f.named) == len(plugins)
}

// rejectTablesInDropIn reports those of the tables that a drop-in has. They may only be in the
// main file, so that no drop-in can change the host.
func (f *configFile) rejectTablesInDropIn(top *tableReader, tables ...string) {
	for _, key := range tables {
		if _, given := top.values[key]; given {
			top.addProblem(top.lines.keyOrSelf(key), "[%s] must not stand in a drop-in, which may hold [[plugin]] tables only", key)
		}
	}
}

// minMemory is the least that [host] memory may be: an eighth of it, the part of one client,
// holds a message of 8 MiB and what goes with it.
const minMemory Bytes = 96 << 20

// readHost reads the table [host].
func (f *configFile) readHost(t *tableReader) {
	h := &f.config.Host
	t.readPath("root", &h.Root, checkNotEmpty)
	t.readText("listen", &h.Listen, checkAddress)
	t.readTLS(&h.TLS)
	f.listenAt = filePosition{f.path, t.lines.keyOrSelf("listen").line}
	t.readPath("communicator", &h.Communicator, checkNotEmpty)
	t.readPath("control", &h.Control)
	readAllowedWord(t, "log-level", &h.LogLevel, logLevels...)
	readAllowedWord(t, "log-format", &h.LogFormat, logFormats...)
	t.readTextList("allowed-origins", &h.AllowedOrigins, checkWebOrigin)
	t.readTextList("allowed-hosts", &h.AllowedHosts, checkHostName)
	readAllowedWord(t, "dialect", &h.Dialect, DialectR4, DialectR5)
	t.readText("communicator-group", &h.CommunicatorGroup)
	readAllowedWord(t, "open", &h.Open, "", RoleRead, RoleCall, RoleOperate, RoleAdmin)
	t.readText("redirect", &h.Redirect, checkNotEmpty)
	t.readPath("web-ui", &h.WebUI)
	readAllowedWord(t, "web-ui-dialect", &h.WebUIDialect, "", DialectR4, DialectR5)
	t.readPath("data", &h.Data, checkNotEmpty)
	t.readTextList("subsystems", &h.Subsystems, CheckNewSubsystem)
	t.readTextList("environment", &h.Environment, checkVariableName)
	t.readTextList("reboot", &h.Reboot)
	t.refersTo(ReferenceGroup, "communicator-group", h.CommunicatorGroup)
	t.refersTo(ReferenceDir, "web-ui", h.WebUI)
	t.refersTo(ReferenceDir, "data", h.Data)
	if len(h.Reboot) > 0 {
		t.refersTo(ReferenceProgram, "reboot", h.Reboot[0])
	}
	readAllowedWord(t, "on-host-exit", &h.OnHostExit, HostExitStop, HostExitAdopt)
	t.readTextList("exit-reasons", &h.ExitReasons, func(s string) error { return checkOneOf(s, exitReasons) })
	t.readInteger("post-mortems", &h.PostMortems, 0, 1000)
	t.readSize("memory", &h.Memory, minMemory)
	t.readSize("client-memory", &h.ClientMemory, 0)
	if m := h.ClientMemory; m != 0 && (m < minMemory/8 || m > h.MessageMemory()) {
		t.addProblem(t.lines.keyOrSelf("client-memory"), `key "client-memory" %s: %s is not between %s and half of memory, %s`, t.name, m, minMemory/8, h.MessageMemory())
	}
	t.readInteger("clones", &h.Clones, 1, 100000)
	t.reportUnknownKeys()
}

// readListener reads a table [[listener]] and adds the listener to the configuration.
func (f *configFile) readListener(t *tableReader) {
	l := Listener{Protocol: ProtocolJSONRPC, Dialect: DialectR4}
	t.readText("address", &l.Address, checkAddress)
	readAllowedWord(t, "protocol", &l.Protocol, ProtocolJSONRPC, ProtocolGRPC)
	readAllowedWord(t, "dialect", &l.Dialect, DialectR4, DialectR5)
	if _, given := t.values["dialect"]; given && l.Protocol == ProtocolGRPC {
		t.addProblem(t.lines.keyOrSelf("dialect"), `key "dialect" %s goes with protocol = "jsonrpc" only`, t.name)
	}
	t.readTLS(&l.TLS)
	t.reportMissingKeys("address")
	t.reportUnknownKeys()
	f.config.Listeners = append(f.config.Listeners, l)
	f.listenersAt = append(f.listenersAt, filePosition{f.path, t.lines.keyOrSelf("address").line})
}

// readHibernate reads the table [hibernate].
func (f *configFile) readHibernate(t *tableReader) {
	h := &f.config.Hibernate
	t.readProgramPath("criu", &h.Criu)
	t.readPath("dir", &h.Dir)
	t.readDuration("timeout", &h.Timeout)
	t.readParsed("budget", `a size such as "64MiB"`, &h.Budget)
	readAllowedWord(t, "on-budget", &h.OnBudget, OnBudgetRefuse, OnBudgetEvict)
	t.readParsed("reserve", `a size such as "64MiB"`, &h.Reserve)
	t.readInteger("parallel", &h.Parallel, 0, 1000)
	readAllowedWord(t, "unknown", &h.Unknown, UnknownRefuse, UnknownTry)
	t.readBool("encrypt", &h.Encrypt)
	t.readPath("key-file", &h.KeyFile)
	readAllowedWord(t, "compress", &h.Compress, CompressNone, CompressZstd)
	t.refersTo(ReferenceProgram, "criu", h.Criu)
	t.refersTo(ReferenceFile, "key-file", h.KeyFile)
	readTiers(t, &h.Tiers)
	t.reportUnknownKeys()
}

// readPlugin reads a table [[plugin]] and adds the instance to those of the file, with the
// values that are right if others are wrong.
func (f *configFile) readPlugin(t *tableReader) {
	p := DefaultPlugin()
	t.readText("callsign", &p.Callsign, CheckCallsign)
	t.readProgramPath("executable", &p.Executable, checkNotEmpty)
	t.readText("builtin", &p.Builtin)
	if err := checkBuiltin(p.Builtin); err != nil {
		t.addProblem(t.lines.keyOrSelf("builtin"), "key \"builtin\" %s: %w", t.name, err)
	}
	t.readTextList("arguments", &p.Arguments)
	t.readTextMap("environment", &p.Environment, checkVariableName)
	readAllowedWord(t, "start-mode", &p.StartMode, StartDeactivated, StartActivated, StartUnavailable)
	t.readInteger("startup-order", &p.StartupOrder, math.MinInt32, math.MaxInt32)
	t.readOptionalBool("resumed", &p.Resume)
	t.readTextList("precondition", &p.Preconditions, f.checkSubsystem)
	t.readTextList("termination", &p.Terminations, f.checkTermination)
	t.readTextList("control", &p.Controls, f.checkSubsystem)
	t.readTextList("requires", &p.Requires, CheckCallsign)
	t.readBool("probe", &p.Probe)
	f.readRestart(t, &p.Restart)
	f.readLimits(t, &p.Limits)
	t.readPath("web-ui", &p.WebUI)
	readAllowedWord(t, "web-ui-dialect", &p.WebUIDialect, "", DialectR4, DialectR5)
	t.readPath("data", &p.Data)
	readAllowedWord(t, "on-call", &p.OnCall, OnCallReject, OnCallWake)
	readIdling(t, &p.Idling)
	t.readJSONTable("configuration", &p.Configuration)
	t.readDuration("start-timeout", &p.StartTimeout)
	t.readDuration("stop-timeout", &p.StopTimeout)
	t.readDuration("call-timeout", &p.CallTimeout)
	t.readParsed("log-rate", `a size such as "64MiB"`, &p.LogRate)
	readAllowedWord(t, "wake", &p.Wake, WakeAuto, WakeEager, WakeLazy)
	readAllowedWord(t, "sleep", &p.Sleep, SleepAuto, SleepCheckpoint, SleepPageOut)
	t.readOptionalDuration("checkpoint-after", &p.CheckpointAfter)
	readAllowedWord(t, "on-failed-wake", &p.OnFailedWake, FailedWakeColdStart, FailedWakeKeep, FailedWakeDeactivate)
	t.readBool("warm-start", &p.WarmStart)
	t.refersTo(ReferenceProgram, "executable", p.Executable)
	t.refersTo(ReferenceDir, "web-ui", p.WebUI)
	t.refersTo(ReferenceDir, "data", p.Data)
	t.reportMissingKeys("callsign")
	if _, program := t.values["executable"]; program == (p.Builtin != "") {
		t.addProblem(t.lines, "one of the keys \"executable\" and \"builtin\" must stand %s", t.name)
	}
	if p.Builtin != "" && p.Limits != (Limits{}) {
		t.addProblem(t.lines.keyOrSelf("limits"), "key \"limits\" %s goes with \"executable\" only", t.name)
	}
	if p.CheckpointAfter != nil && p.Sleep != SleepAuto {
		t.addProblem(t.lines.keyOrSelf("checkpoint-after"), "key \"checkpoint-after\" %s goes with sleep = \"auto\" only", t.name)
	}
	t.reportUnknownKeys()
	f.claimOrReportCallsign(t, p.Callsign)
	f.plugins = append(f.plugins, p)
}

// checkSubsystem returns an error if neither Thunder nor the operator defines a subsystem
// of that name. The operator's subsystems are in the main file, which is read first.
func (f *configFile) checkSubsystem(name string) error {
	return CheckSubsystem(name, f.config.Host.AllSubsystems(), false)
}

// checkTermination returns an error if the name, after an optional "!", is not a subsystem
// that Thunder or the operator defines.
func (f *configFile) checkTermination(name string) error {
	return CheckSubsystem(name, f.config.Host.AllSubsystems(), true)
}

// readRestart reads the table "restart" of a plugin.
func (f *configFile) readRestart(t *tableReader, r *Restart) {
	values, _ := readValue[map[string]any](t, "restart", "a table")
	t = &tableReader{file: f, name: "in the restart table " + t.name, lines: t.lines.keyOrSelf("restart"), values: values}
	readAllowedWord(t, "policy", &r.Policy, RestartNever, RestartOnFailure, RestartAlways)
	t.readInteger("limit", &r.Limit, 0, 1000)
	t.readDuration("window", &r.Window)
	t.readDuration("backoff", &r.Backoff)
	t.reportUnknownKeys()
}

// claimOrReportCallsign notes that the plugin that t reads has the callsign. It reports a
// callsign that another configured plugin has already, without regard to case. It does
// nothing for "".
func (f *configFile) claimOrReportCallsign(t *tableReader, callsign string) {
	if callsign == "" {
		return // missing or malformed, and reported as such
	}
	f.named = append(f.named, callsign)
	at := t.lines.keyOrSelf("callsign")
	folded := strings.ToLower(callsign)
	if first, taken := f.callsigns[folded]; taken {
		t.addProblem(at, "the callsign %q is taken by the plugin at %s", callsign, first)
		return
	}
	f.callsigns[folded] = filePosition{f.path, at.line}
}

// checkVariableName returns an error if no environment variable can have the name: it is
// empty or has a "=".
func checkVariableName(name string) error {
	if name == "" || strings.Contains(name, "=") {
		return fmt.Errorf(`%q is not the name of a variable`, name)
	}
	return nil
}

// firstLineWithBadByte returns the number of the first line with a control character or a
// byte that is not UTF-8, 0 if there is none. A TOML file must have neither.
func firstLineWithBadByte(text []byte) int {
	isBad := func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7f }
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if !utf8.Valid(line) || bytes.ContainsFunc(bytes.TrimSuffix(line, []byte("\r\n")), isBad) {
			return number
		}
	}
	return 0
}

// explainSyntaxError returns the line and the cause of an error of the TOML library, line 0
// if the library does not know it. The line in the library's error is wrong by one at a
// newline or the end of the file, so the line is counted from the last byte that the library
// has read.
func explainSyntaxError(text string, err error) (line int, cause error) {
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		doc := strings.TrimPrefix(text, "\ufeff")
		last := parse.Position.Start + parse.Position.Len - 1
		line = 1 + strings.Count(doc[:min(max(0, last), len(doc))], "\n")
		err = errors.New(withoutControlCharacters(strings.TrimSuffix(parse.Message, ".")))
	}
	return line, fmt.Errorf("not valid TOML: %w", err)
}

// withoutControlCharacters returns the message without its control characters, which may
// come from a file and must not reach the operator's terminal.
func withoutControlCharacters(message string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, message)
}
