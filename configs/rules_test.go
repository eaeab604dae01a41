package configs_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

const (
	needsTLS   = "other machines can reach it, so it needs tls-certificate and tls-key, and a tls-client-ca or rows [[access]] for tokens; or set a loopback address"
	needsProof = "other machines can reach it, so it needs a tls-client-ca, or rows [[access]] for tokens that `dormouse token add` makes"
)

func TestRules(t *testing.T) {
	const plugin = "[[plugin]]\ncallsign = \"A\"\nexecutable = \"a\"\n"
	for _, test := range []struct {
		name, text, want string
	}{
		// Keys.
		{"unknown key", "[host]\nrot = \"/\"", `x:2: unknown key "rot" in [host]: did you mean "root"?`},
		{"typo in a plugin", plugin + `start-mdoe = "activated"`, `x:4: unknown key "start-mdoe" in [[plugin]]: did you mean "start-mode"?`},
		{"upper case", "[hibernate]\nTimeout = \"1s\"", `x:2: unknown key "Timeout" in [hibernate]: did you mean "timeout"?`},
		{"underscore", plugin + `on_call = "wake"`, `x:4: unknown key "on_call" in [[plugin]]: did you mean "on-call"?`},
		{"start of a key", plugin + `env = {}`, `x:4: unknown key "env" in [[plugin]]: did you mean "environment"?`},
		{"nothing near", "[host]\npalette = 1", `x:2: unknown key "palette" in [host]`},
		{"quoted and dotted", `host."a.b=c".d = 1`, `x:1: unknown key "a.b=c" in [host]`},
		{"unknown table", "\n[hots]\nroot = 1", `x:2: unknown key "hots" at the top level: did you mean "host"?`},
		{"unknown table of an array", "[[Plugin]]", `x:1: unknown key "Plugin" at the top level: did you mean "plugin"?`},
		{"callsign that is read as a version", "[[plugin]]\ncallsign = \"X.1\"\nexecutable = \"a\"", `x:2: key "callsign" in [[plugin]]: "X.1" can't be a callsign: a call of "X.1.method" means "method" of "X" in version 1; call it "X-1", for example`},
		{"callsign that hides rpc.discover", "[[plugin]]\ncallsign = \"X.rpc\"\nexecutable = \"a\"", `x:2: key "callsign" in [[plugin]]: "X.rpc" can't be a callsign: a call of "X.rpc.discover" means "rpc.discover" of "X" in version 1; call it "X-rpc", for example`},
		{"missing keys", "\n[[plugin]]\n", `x:2: missing key "callsign" in [[plugin]]` + "\n" + `x:2: one of the keys "executable", "builtin" and "package" must stand in [[plugin]]`},
		{"both programs", plugin + `builtin = "Monitor"`, `x:1: one of the keys "executable", "builtin" and "package" must stand in [[plugin]]`},
		{"unknown subsystem", plugin + `precondition = ["Networks"]`, `x:4: key "precondition[0]" in [[plugin]]: there is no subsystem "Networks": did you mean "Network"?`},
		{"negative precondition", plugin + `precondition = ["!Network"]`, `x:4: key "precondition[0]" in [[plugin]]: "!Network" must be a subsystem that is up; what is to end the instance stands in "termination"`},
		{"termination", plugin + `termination = ["!Network"]`, ""},
		{"subsystem of the site", "[host]\nsubsystems = [\"Tuner\"]\n" + plugin + `control = ["Tuner"]`, ""},
		{"subsystem that exists", "[host]\nsubsystems = [\"network\"]", `x:2: key "subsystems[0]" in [host]: "network" exists already`},
		{"requires what a package may bring", plugin + `requires = ["Nope"]`, ""},
		{"requires itself in lower case", plugin + `requires = ["a"]`, `x:2: A requires "a", but no instance has that callsign`},
		{"requires itself", plugin + `requires = ["A"]`, `x:2: instances require each other in a circle: A → A`},
		{"restart policy", plugin + `restart = { policy = "allways" }`, `x:4: key "policy" in the restart table in [[plugin]]: "allways" is not "never", "on-failure" or "always": did you mean "always"?`},
		{"limits", plugin + `limits = { memory = "64MiB", swap = "0", pids = 32, cpu-weight = 50, open-files = 256 }`, ""},
		{"limit of another kind", plugin + `limits = { memory = 64 }`, `x:4: key "memory" in the limits table in [[plugin]] must be a size such as "64MiB", not an integer`},
		{"limits of a part of the host", "[[plugin]]\ncallsign = \"A\"\nbuiltin = \"Monitor\"\nlimits = { pids = 9 }", `x:4: key "limits" in [[plugin]] goes with "executable" only`},
		{"dialect of pages", "[host]\nweb-ui-dialect = \"r5\"", `x:2: key "web-ui-dialect" in [host]: "r5" is not "", "thunder-r4" or "thunder-r5"`},
		{"dialect of an instance's page", "[[plugin]]\ncallsign = \"A\"\nexecutable = \"a\"\nweb-ui-dialect = \"r5\"", `x:4: key "web-ui-dialect" in [[plugin]]: "r5" is not "", "thunder-r4" or "thunder-r5"`},
		{"dialect", "[host]\ndialect = \"r5\"", `x:2: key "dialect" in [host]: "r5" is not "thunder-r4" or "thunder-r5"`},

		// Types.
		{"host no table", "host = 1", `x:1: key "host" at the top level must be a table, written [host], not an integer`},
		{"host repeated", "[[host]]", `x:1: key "host" at the top level must be a table, written [host], not an array of tables`},
		{"plugin once", "[plugin]", `x:1: key "plugin" at the top level must be a list of tables, each written [[plugin]], not a table`},
		{"plugins inline", "plugin = [{}]", `x:1: key "plugin" at the top level must be a list of tables, each written [[plugin]], not an array`},
		{"string", "[host]\nroot = 1979-05-27", `x:2: key "root" in [host] must be a string, not a date or time`},
		{"duration", "[hibernate]\ntimeout = 60", `x:2: key "timeout" in [hibernate] must be a duration such as "1m30s", not an integer`},
		{"integer", plugin + "startup-order = 5.0", `x:4: key "startup-order" in [[plugin]] must be an integer, not a float`},
		{"smallest integer", plugin + "startup-order = -2147483648", ""},
		{"boolean", plugin + `resumed = "yes"`, `x:4: key "resumed" in [[plugin]] must be a boolean, not a string`},
		{"array", plugin + `arguments = "-v"`, `x:4: key "arguments" in [[plugin]] must be an array of strings, not a string`},
		{"array of others", plugin + "arguments = [\n\"-v\",\n3,\ntrue,\n]", `x:4: "arguments[1]" in [[plugin]] must be a string, not an integer` + "\n" + `x:4: "arguments[2]" in [[plugin]] must be a string, not a boolean`},
		{"table", plugin + "environment = []", `x:4: key "environment" in [[plugin]] must be a table of strings, not an array`},
		{"table of others", plugin + "[plugin.environment]\nA = \"a\"\nB = 1", `x:6: key "environment.B" in [[plugin]] must be a string, not an integer`},
		{"configuration", plugin + "configuration = true", `x:4: key "configuration" in [[plugin]] must be a table, not a boolean`},

		// Values.
		{"empty path", "[host]\nroot = \"\"\ncommunicator = \"\"", `x:2: key "root" in [host]: must not be empty` + "\n" + `x:3: key "communicator" in [host]: must not be empty`},
		{"NUL", plugin + `arguments = ["a\u0000"]`, `x:4: key "arguments[0]" in [[plugin]]: must not hold a NUL byte`},
		{"log level", "[host]\nlog-level = \"waring\"", `x:2: key "log-level" in [host]: "waring" is not "trace", "debug", "info", "warn" or "error": did you mean "warn"?`},
		{"log format", "[host]\nlog-format = \"xml\"", `x:2: key "log-format" in [host]: "xml" is not "auto", "console", "json" or "journal"`},
		{"start mode", plugin + `start-mode = "Activated"`, `x:4: key "start-mode" in [[plugin]]: "Activated" is not "deactivated", "activated" or "unavailable": did you mean "activated"?`},
		{"on call", plugin + `on-call = ""`, `x:4: key "on-call" in [[plugin]]: "" is not "reject" or "wake"`},
		{"failed wake", plugin + `on-failed-wake = "coldstart"`, `x:4: key "on-failed-wake" in [[plugin]]: "coldstart" is not "cold-start", "keep" or "deactivate": did you mean "cold-start"?`},
		{"sleep", plugin + `sleep = "page-out"`, `x:4: key "sleep" in [[plugin]]: "page-out" is not "auto", "checkpoint" or "pageout": did you mean "pageout"?`},
		{"checkpoint after", plugin + "sleep = \"pageout\"\ncheckpoint-after = \"1m\"", `x:5: key "checkpoint-after" in [[plugin]] goes with sleep = "auto" only`},
		{"zero duration", "[hibernate]\ntimeout = \"0s\"", `x:2: key "timeout" in [hibernate]: "0s" must be more than zero`},
		{"no duration", plugin + `stop-timeout = "5 s"`, `x:4: key "stop-timeout" in [[plugin]]: "5 s" is not a duration such as "1m30s"`},
		{"negative durations", plugin + "start-timeout = \"-1s\"\ncall-timeout = \"-1ns\"", `x:4: key "start-timeout" in [[plugin]]: "-1s" must be more than zero` + "\n" + `x:5: key "call-timeout" in [[plugin]]: "-1ns" must be more than zero`},
		{"callsign", "[[plugin]]\nexecutable = \"a\"\ncallsign = \"\"", `x:3: key "callsign" in [[plugin]]: a callsign must not be empty`},
		{"reserved callsign", "[[plugin]]\nexecutable = \"a\"\ncallsign = \"CONTROLLER\"", `x:3: key "callsign" in [[plugin]]: the callsign "CONTROLLER" is reserved: the host itself answers to it`},
		{"executable", "[[plugin]]\nexecutable = \"\"\ncallsign = \"A\"", `x:2: key "executable" in [[plugin]]: must not be empty`},
		{"variable", plugin + `environment = { "A=B" = "c" }`, `x:4: key "environment.A=B" in [[plugin]]: "A=B" is not the name of a variable`},
		{"not for JSON", plugin + "[[plugin.configuration.rules]]\n[[plugin.configuration.rules]]\nrate = -inf", `x:6: key "rate" in the configuration in [[plugin]]: a plugin gets it as JSON, which has no -Inf`},
		{"origin", "[host]\nallowed-origins = [\"https://tv.example/\"]", `x:2: key "allowed-origins[0]" in [host]: "https://tv.example/" is not a web origin such as "https://tv.example:8443", nor file:// or null`},
		{"path of a file", "[host]\nallowed-origins = [\"file:///x\"]", `x:2: key "allowed-origins[0]" in [host]: "file:///x" is not a web origin such as "https://tv.example:8443", nor file:// or null`},
		{"any origin", "[host]\nallowed-origins = [\"*\"]", `x:2: key "allowed-origins[0]" in [host]: "*" is not a web origin such as "https://tv.example:8443", nor file:// or null`},
		{"host name", "[host]\nallowed-hosts = [\"http://tv\"]", `x:2: key "allowed-hosts[0]" in [host]: "http://tv" is not a host name such as "tv.example"`},

		// Where to listen.
		{"no port", "[host]\nlisten = \"localhost\"", `x:2: key "listen" in [host]: "localhost" is not an address such as "127.0.0.1:9998"`},
		{"port too large", "[host]\nlisten = \"localhost:65536\"", `x:2: key "listen" in [host]: the port of "localhost:65536" must be a number from 0 to 65535`},
		{"port by name", "[host]\nlisten = \"localhost:http\"", `x:2: key "listen" in [host]: the port of "localhost:http" must be a number from 0 to 65535`},
		{"all addresses", "[host]\nlisten = \":9998\"", `x:2: cannot listen on ":9998": ` + needsTLS},
		{"any address", "[host]\nlisten = \"0.0.0.0:9998\"", `x:2: cannot listen on "0.0.0.0:9998": ` + needsTLS},
		{"any address, v6", "[host]\nlisten = \"[::]:9998\"", `x:2: cannot listen on "[::]:9998": ` + needsTLS},
		{"a name", "[host]\nlisten = \"box.example:9998\"", `x:2: cannot listen on "box.example:9998": ` + needsTLS},
		{"loopback", "[host]\nlisten = \"127.8.8.8:0\"", ""},
		{"loopback, v6", "[host]\nlisten = \"[::1]:9998\"", ""},
		{"localhost", "[host]\nlisten = \"localhost:9998\"", ""},
		{"TLS alone", "[host]\nlisten = \":9998\"\ntls-certificate = \"c\"\ntls-key = \"k\"", `x:2: cannot listen on ":9998": ` + needsProof},
		{"TLS and another key's row", "[host]\nlisten = \":9998\"\ntls-certificate = \"c\"\ntls-key = \"k\"\n[[access]]\nuser = \"a\"\nrole = \"call\"", `x:2: cannot listen on ":9998": ` + needsProof},
		{"TLS and tokens", "[host]\nlisten = \":9998\"\ntls-certificate = \"c\"\ntls-key = \"k\"\n[[access]]\ntoken = \"a\"\nrole = \"call\"", ""},
		{"TLS and client certificates", "[host]\nlisten = \":9998\"\ntls-certificate = \"c\"\ntls-key = \"k\"\ntls-client-ca = \"a\"", ""},
		{"tokens without TLS", "[host]\nlisten = \":9998\"\n[[access]]\ntoken = \"a\"\nrole = \"call\"", `x:2: cannot listen on ":9998": ` + needsTLS},
		{"another listener", "[[listener]]\naddress = \":9998\"", `x:2: cannot listen on ":9998": ` + needsTLS},
		{"gRPC", "[[listener]]\naddress = \":9998\"\nprotocol = \"grpc\"", `x:2: cannot listen on ":9998": ` + needsTLS},
		{"gRPC has no dialect", "[[listener]]\naddress = \"127.0.0.1:9998\"\nprotocol = \"grpc\"\ndialect = \"thunder-r5\"", `x:4: key "dialect" in [[listener]] goes with protocol = "jsonrpc" only`},
		{"half of TLS", "[host]\ntls-key = \"k\"", `x:1: the keys "tls-certificate" and "tls-key" must stand together in [host]`},
		{"client CA without TLS", "[host]\ntls-client-ca = \"a\"", `x:2: key "tls-client-ca" in [host] goes with "tls-certificate" only`},

		// Who may do what.
		{"no role", "[[access]]\nuser = \"a\"", `x:1: missing key "role" in [[access]]`},
		{"unknown role", "[[access]]\nuser = \"a\"\nrole = \"root\"", `x:3: key "role" in [[access]]: "root" is not "read", "call", "operate" or "admin"`},
		{"nobody named", "[[access]]\nrole = \"call\"", `x:1: exactly one of the keys "user", "group", "token", "certificate" and "plugin" must stand in [[access]]`},
		{"two named", "[[access]]\nrole = \"call\"\nuser = \"a\"\ntoken = \"b\"", `x:1: exactly one of the keys "user", "group", "token", "certificate" and "plugin" must stand in [[access]]`},
		{"no patterns", "[[access]]\nrole = \"call\"\nuser = \"a\"\ncallsigns = []", `x:4: key "callsigns" in [[access]] must not be empty; leave it out to grant the role for all`},
		{"bad pattern", "[[access]]\nrole = \"call\"\nuser = \"a\"\nmethods = [\"[\"]", `x:4: key "methods[0]" in [[access]]: "[" is not a pattern such as "Player*"`},

		// Callsigns among each other.
		{"taken", plugin + "\n" + `[[plugin]]` + "\nexecutable = \"b\"\n\ncallsign = \"a\"", `x:8: the callsign "a" is taken by the plugin at x:2`},

		// Not TOML.
		{"syntax", "[host]\nroot = /var", `x:2: not valid TOML: expected value but found '/' instead`},
		{"duplicate key", "[host]\nroot = \"/a\"\n\nroot = \"/b\"", `x:4: not valid TOML: Key 'host.root' has already been defined`},
		{"cut off", `x = "a`, `x:1: not valid TOML: unexpected EOF; expected '"'`},
		{"cut off at an escape", `x = "\`, `x:1: not valid TOML: invalid escape in string '\'`},
		{"escaped newline", "\nx = \"\\\n\"", `x:2: not valid TOML: invalid escape in string '\'`},
		{"inside a long string", "x = \"\"\"\n\n\\q\"\"\"", `x:3: not valid TOML: invalid escape in string '\q'`},
		{"control character", "#\n#\n\a", `x:3: not UTF-8 text`},
		{"carriage return", "a = 1\r\n# \r", `x:2: not UTF-8 text`},
		{"UTF-16", "[\x00h\x00", `x:1: not UTF-8 text`},
		{"deep list", "\na = " + strings.Repeat("[", 65), "x:2: tables or lists are nested deeper than 64 levels"},
		{"deep table", "\na = " + strings.Repeat("{b=", 1<<17), "x:2: tables or lists are nested deeper than 64 levels"},
		{"deep keys", "a" + strings.Repeat(".b", 40) + " = {c" + strings.Repeat(".d", 40) + " = 1}", "x:1: tables or lists are nested deeper than 64 levels"},
		{"deep header", "# [\na = \"\"\"\n[\\\"\"\"\"\n[a" + strings.Repeat(".b", 64) + "]", "x:4: tables or lists are nested deeper than 64 levels"},
		{"not deep", "a = '" + strings.Repeat("[", 99) + "'\nb = [" + strings.Repeat("[], {a.b=1.5}, ", 99) + "]\n" + "c = \"\n", `x:3: not valid TOML: strings cannot contain newlines`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := configs.Load(writeIn(t, dir, "x", test.text), nil, configs.Overrides{})
			if diff := cmp.Diff(test.want, relative(dir, err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAllProblems holds that one load reports everything, in all files, in order.
func TestAllProblems(t *testing.T) {
	dir := t.TempDir()
	main := writeIn(t, dir, "x.toml", `
[host]
listen = "localhost:9998"   # root = 1
lisen = ""
log-level = "inf"
[[plugin]]
callsign = "Counter"
executable = """
[[plugin]]
start-mdoe = "not a key"
"""
arguments = [ # one a line
  "a = 1",
]
configuration = { start = 41, "[x]" = '#' }
start-mod = "activated"
`)
	writeIn(t, dir, "plugins.d/a.toml", `
[host]
[[plugin]]
callsign = "counter"
executable = "x"
`)
	writeIn(t, dir, "plugins.d/b.toml", "[[plugin]\n")
	writeIn(t, dir, "plugins.d/c.toml", `
[[plugin]]
callsign = "COUNTER"
[[plugins]]
`)
	_, err := configs.Load(main, nil, configs.Overrides{LogFormat: "x"})
	want := `--log-format: "x" is not "auto", "console", "json" or "journal"
plugins.d/a.toml:2: [host] must not stand in a drop-in, which may hold [[plugin]] tables only
plugins.d/a.toml:4: the callsign "counter" is taken by the plugin at x.toml:7
plugins.d/b.toml:1: not valid TOML: expected end of table array name delimiter ']', but got '\n' instead
plugins.d/c.toml:2: one of the keys "executable", "builtin" and "package" must stand in [[plugin]]
plugins.d/c.toml:3: the callsign "COUNTER" is taken by the plugin at x.toml:7
plugins.d/c.toml:4: unknown key "plugins" at the top level: did you mean "plugin"?
x.toml:4: unknown key "lisen" in [host]: did you mean "listen"?
x.toml:5: key "log-level" in [host]: "inf" is not "trace", "debug", "info", "warn" or "error": did you mean "info"?
x.toml:16: unknown key "start-mod" in [[plugin]]: did you mean "start-mode"?`
	if diff := cmp.Diff(want, relative(dir, err)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// relative is the text of an error without the directory of the test.
func relative(dir string, err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), dir+"/", "")
}
