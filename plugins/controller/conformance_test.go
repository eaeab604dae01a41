package controller

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
)

// sameError replaces the errors of R4 by those of R5, byte for byte. Errors that are
// the same in both are not listed.
var sameError = strings.NewReplacer(
	`"code":22,"message":"ERROR_UNKNOWN_KEY"`, `"code":-31022,"message":"ERROR_UNKNOWN_KEY"`,
	`"code":-32604,"message":"method invocation not allowed."`, `"code":-32604,"message":"Method invocation not allowed."`,
	`"code":2,"message":"Service is not active"`, `"code":-31002,"message":"The service is not active."`,
	`"code":5,"message":"The service is in an illegal state!!!."`, `"code":-31005,"message":"The service is in an illegal state."`,
	`"code":-32602,"message":"Requested version is not supported."`, `"code":-31038,"message":"Requested version is not supported."`,
	`"code":-32600,"message":"Destined invoke failed."`, `"code":-31041,"message":"ERROR_INVALID_DESIGNATOR"`,
	`"code":-32603,"message":"Could not access requested service"`, `"code":-31030,"message":"ERROR_BAD_REQUEST"`,
	`"code":22,"message":"no such channel"`, `"code":-31022,"message":"no such channel"`,
	`"code":1,"message":"`, `"code":-31001,"message":"`,
	`"code":6,"message":"`, `"code":-31006,"message":"`,
	`"code":12,"message":"ERROR_INPROGRESS"`, `"code":-31012,"message":"ERROR_INPROGRESS"`,
	`"code":18,"message":"`, `"code":-31018,"message":"`,
	`"code":19,"message":"`, `"code":-31019,"message":"`,
	`"code":23,"message":"`, `"code":-31023,"message":"`,
	`"code":29,"message":"`, `"code":-31029,"message":"`,
	`"code":31,"message":"`, `"code":-31031,"message":"`,
	`"code":44,"message":"ERROR_NOT_SUPPORTED"`, `"code":-31044,"message":"The operation is not supported."`,
	`"code":46,"message":"Service is hibernated"`, `"code":-31046,"message":"The service is hibernated."`,
	`"code":47,"message":"ERROR_INPROC"`, `"code":-31047,"message":"ERROR_INPROC"`,
	`"code":50,"message":"`, `"code":-31050,"message":"`,
	`"code":2,"message":"ERROR_UNAVAILABLE"`, `"code":-31044,"message":"The operation is not supported."`,
	`"code":22,"message":"Registration already done!!!."`, `"code":-31048,"message":"Registration failed."`,
	`"code":22,"message":"Unregister was already done!!!."`, `"code":-31048,"message":"Unregister failed."`,
	`"code":-32600,"message":"Invalid request."`, `"code":-31050,"message":"ERROR_PARSE_FAILURE"`,
	`"code":-32700,"message":"Parsing of the parameters failed"`, `"code":-31050,"message":"ERROR_PARSE_FAILURE"`,
)

func TestConformance(t *testing.T) {
	for _, dialect := range []string{"r4", "r5"} {
		t.Run(dialect, func(t *testing.T) { testConformance(t, dialect) })
	}
}

// The cases run in order on one host; each names what a client sends and the
// bytes that it must get.
func testConformance(t *testing.T, spoken string) { //nolint:thelper // the test itself, once for each dialect
	const (
		unknownText  = `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Unknown method."}}`
		ok           = `{"jsonrpc":"2.0","id":1,"result":null}`
		zero         = `{"jsonrpc":"2.0","id":1,"result":0}`
		absent       = `{"jsonrpc":"2.0","id":1,"error":{"code":-31043,"message":"The service is not available."}}`
		keyText      = `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"ERROR_UNKNOWN_KEY"}}`
		privileged   = `{"jsonrpc":"2.0","id":1,"error":{"code":-32604,"message":"method invocation not allowed."}}`
		noService    = `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Could not access requested service"}}`
		inactiveText = `{"jsonrpc":"2.0","id":1,"error":{"code":2,"message":"Service is not active","data":{"cause":"the instance is not active: it is `
		illegalText  = `{"jsonrpc":"2.0","id":1,"error":{"code":5,"message":"The service is in an illegal state!!!.","data":{"cause":"`
		outside      = `{"jsonrpc":"2.0","id":1,"error":{"code":-32604,"message":"method invocation not allowed.","data":{"cause":"the path must name something below a persistent directory"}}}`
		noFile       = `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"ERROR_UNKNOWN_KEY","data":{"cause":"there is no such file"}}}`
		missingText  = `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Could not access requested service","data":{"cause":"the parameter \"callsign\" is missing: the instance"}}}`
	)
	t.Setenv("DORMOUSE_TEST_SHOWN", "here")
	t.Setenv("DORMOUSE_TEST_HIDDEN", "not here")
	h := newHost(t, setup{
		host: configs.Host{Root: persistentFiles(t), Environment: []string{"DORMOUSE_TEST_SHOWN", "DORMOUSE_TEST_UNSET"}},
		options: Options{
			Proxies: func() []Proxy { return []Proxy{{"Shell", "Plain", "0x1", 2, "3@native", "native"}} },
			Reload:  func(context.Context) ([]string, error) { return nil, errors.New("line 3: no such key") },
			Reboot:  func(context.Context) error { return nil },
		},
	})
	c := h.dial(t, "/jsonrpc?dialect="+spoken)
	for _, tt := range []struct {
		name, send string
		want       string // in R4
		r5         string // empty when only an error reads in another way
	}{
		{"framework", call("Controller.1.framework", ""), `{"jsonrpc":"2.0","id":1,"result":{"hash":"v1.2.3-4-gabc","major":1,"minor":2,"patch":3}}`, ""},
		{"version optional", call("Controller.version", ""), `{"jsonrpc":"2.0","id":1,"result":{"hash":"v1.2.3-4-gabc","major":1,"minor":2,"patch":3}}`, ""},
		{"version beyond 254 is none", call("Controller.300.exists", `{"method":"status"}`), `{"jsonrpc":"2.0","id":1,"result":true}`, ""},
		{"unknown method", call("Controller.1.nope", ""), unknownText, ""},
		{"unknown version", call("Controller.2.status", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Requested version is not supported."}}`, ""},
		{"unknown callsign", call("Nope.1.x", ""), noService, absent},
		{"callsigns are case-sensitive", call("controller.status", ""), noService, absent},
		{"methods are case-sensitive", call("Controller.Status", ""), unknownText, ""},
		{"no callsign", call("foobar", ""), unknownText, ""},
		{"not a designator", call("Controller.", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"Destined invoke failed.","data":{"cause":"the method is not a designator: no name of a method in \"Controller.\""}}}`, ""},
		{"a bridge that is none", call("P/Controller.1.status", `{}`), noService, absent},
		{"deactivated", call("P.1.echo", ""), inactiveText + `deactivated"}}}`, ""},
		{"dotted callsign", call("org.test.Dotted.1.echo", `[1]`), `{"jsonrpc":"2.0","id":1,"result":[1]}`, ""},
		{"dotted callsign without version", call("org.test.Dotted.echo", `"x"`), `{"jsonrpc":"2.0","id":1,"result":"x"}`, ""},
		{"prefix", call("Plain.1.org::echo", `{"a" : 1.0}`), `{"jsonrpc":"2.0","id":1,"result":{"a" : 1.0}}`, ""},
		{"index", call("Plain.1.index@a.b@c", ""), `{"jsonrpc":"2.0","id":1,"result":"a.b@c"}`, ""},
		{"unknown method of a plugin", call("Plain.1.nope", ""), unknownText, ""},
		{"parameters that a plugin refuses", call("Plain.1.invalid", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid parameters.","data":{"cause":"invalid parameters: volume is missing"}}}`, ""},
		{"error of a plugin", call("Plain.1.fail", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"no such channel","data":{"channel":7}}}`, ""},
		{"error of a plugin without a text", call("Plain.1.fail30", ""), noService, ""},
		{"JSON-RPC error of a plugin", call("Plain.1.failnegative", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32099,"message":"mine"}}`, ""},
		{"result that is not JSON", call("Plain.1.broken", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Unknown JSON-RPC error.","data":{"cause":"the plugin's result is not JSON"}}}`, ""},
		{"result that is not UTF-8", call("Plain.1.latin", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Unknown JSON-RPC error.","data":{"cause":"the plugin's result is not JSON"}}}`, ""},
		{"panic", call("Plain.1.panic", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Unknown JSON-RPC error."}}`, ""},
		{"busy", call("Plain.1.busy", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":12,"message":"ERROR_INPROGRESS","data":{"retryAfterMs":1000}}}`, ""},

		{"id 0", `{"id":0,"method":"Plain.echo"}`, `{"jsonrpc":"2.0","id":0,"result":null}`, ""},
		{"largest id of JavaScript", `{"id":9007199254740992,"method":"Plain.echo"}`, `{"jsonrpc":"2.0","id":9007199254740992,"result":null}`, ""},
		{"string id", `{"id":"12","method":"Plain.echo"}`, `{"jsonrpc":"2.0","id":"12","result":null}`, ""},
		{"null id", `{"id":null,"method":"Plain.echo"}`, `{"jsonrpc":"2.0","id":null,"result":null}`, ""},
		{"id with a zero fraction", `{"id":1.0,"method":"Plain.echo"}`, `{"jsonrpc":"2.0","id":1.0,"result":null}`, ""},
		{"id with an exponent", `{"id":1e3,"method":"Plain.echo"}`, `{"jsonrpc":"2.0","id":1e3,"result":null}`, ""},
		{"id with all of a number", `{"id":-12.50E+2,"method":"Plain.nope"}`, `{"jsonrpc":"2.0","id":-12.50E+2,"error":{"code":-32601,"message":"Unknown method."}}`, ""},
		{"id of many digits", `{"id":123456789012345678901234567890,"method":"Plain.echo"}`, `{"jsonrpc":"2.0","id":123456789012345678901234567890,"result":null}`, ""},
		{"no method", `{"id":7}`, `{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"Invalid request.","data":{"cause":"the message is not a JSON-RPC request: it has no method"}}}`, ""},
		{"malformed", `{"id":7`, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parsing of the parameters failed","data":{"cause":"the message is not JSON: unexpected end of JSON input"}}}`, ""},
		{"failing notification", `{"method":"Plain.nope"}`, `{"jsonrpc":"2.0","error":{"code":-32601,"message":"Unknown method."}}`, ""},
		{"batch", `[{"id":1,"method":"Plain.echo","params":[1]},{"method":"Plain.echo"},5,{"id":"b","method":"Plain.nope"}]`,
			`[{"jsonrpc":"2.0","id":1,"result":[1]},{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request.","data":{"cause":"the message is not a JSON-RPC request: an element of the batch is not an object"}}},{"jsonrpc":"2.0","id":"b","error":{"code":-32601,"message":"Unknown method."}}]`, ""},
		{"empty batch", `[]`, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request.","data":{"cause":"the message is not a JSON-RPC request: the batch is empty"}}}`, ""},

		{"exists", call("Controller.1.exists", `{"method":"activate"}`), `{"jsonrpc":"2.0","id":1,"result":true}`, ""},
		{"exists is case-sensitive", call("Controller.1.exists", `{"method":"Activate"}`), `{"jsonrpc":"2.0","id":1,"result":false}`, ""},
		{"exists as of old", call("Controller.1.exists", `"services"`), zero, ""},
		{"exists as of old, unknown", call("Controller.1.exists", `"nope"`), `{"jsonrpc":"2.0","id":1,"result":22}`, ""},
		{"exists without a name", call("Controller.1.exists", ""), `{"jsonrpc":"2.0","id":1,"result":22}`, ""},
		{"exists of a plugin", call("Plain.1.exists", `{"method":"echo"}`), `{"jsonrpc":"2.0","id":1,"result":true}`, ""},
		{"exists of what all have", call("P.1.exists", `{"method":"register"}`), `{"jsonrpc":"2.0","id":1,"result":true}`, ""},
		{"exists of a deactivated plugin", call("P.1.exists", `{"method":"echo"}`), inactiveText + `deactivated"}}}`, ""},

		{"batch in a batch", `[[{"id":1,"method":"Plain.echo"}]]`, `[{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request.","data":{"cause":"the message is not a JSON-RPC request: an element of the batch is not an object"}}}]`, ""},
		{"neither object nor array", `"Plain.echo"`, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request.","data":{"cause":"the message is not a JSON-RPC request: it is neither an object nor an array"}}}`, ""},
		{"member twice", `{"id":1,"method":"Plain.echo","method":"Plain.fail"}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"Invalid request.","data":{"cause":"the message is not a JSON-RPC request: it has more than one method"}}}`, ""},
		{"parameter twice", call("Controller.1.activate", `{"callsign":"P","callsign":"P"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":50,"message":"ERROR_PARSE_FAILURE","data":{"cause":"params have more than one \"callsign\""}}}`, ""},
		{"members in another case", `{"ID":1,"Method":"Plain.echo"}`, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request.","data":{"cause":"the message is not a JSON-RPC request: it has no method"}}}`, ""},
		{"too deep", `{"id":1,"method":"Plain.echo","params":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request.","data":{"cause":"the message is not a JSON-RPC request: it is nested deeper than 64 levels"}}}`, ""},
		{"id that is an object", `{"id":{},"method":"Plain.echo"}`, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request.","data":{"cause":"the message is not a JSON-RPC request: its id is neither a number nor a string"}}}`, ""},

		{"versions", call("Controller.1.versions", ""), `{"jsonrpc":"2.0","id":1,"result":[` +
			`{"name":"JConfiguration","major":1,"minor":0,"patch":0},{"name":"JDiscovery","major":1,"minor":0,"patch":0},` +
			`{"name":"JSystem","major":1,"minor":0,"patch":0},{"name":"JLifeTime","major":1,"minor":0,"patch":0},` +
			`{"name":"JMetadata","major":1,"minor":0,"patch":0},{"name":"JSubsystems","major":1,"minor":0,"patch":0},` +
			`{"name":"JEvents","major":1,"minor":0,"patch":0}]}`, ""},
		{"versions of a plugin", call("P.1.versions", `{}`), `{"jsonrpc":"2.0","id":1,"result":[]}`, ""},

		{"environment", call("Controller.1.environment@DORMOUSE_TEST_SHOWN", ""), `{"jsonrpc":"2.0","id":1,"result":"here"}`, ""},
		{"environment that is not shown", call("Controller.1.environment@DORMOUSE_TEST_HIDDEN", ""), keyText, ""},
		{"environment that is not set", call("Controller.1.environment@DORMOUSE_TEST_UNSET", ""), keyText, ""},
		{"environment without a name", call("Controller.1.environment", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Could not access requested service","data":{"cause":"name the variable, as in environment@HOME"}}}`, ""},

		{"configuration", call("Controller.1.configuration@org.test.Dotted", ""), `{"jsonrpc":"2.0","id":1,"result":{"tuner":1}}`, ""},
		{"configuration that is none", call("Controller.1.configuration@P", ""), ok, ""},
		{"configuration of nobody", call("Controller.1.configuration@Nope", ""), keyText, ""},
		{"configuration without an index", call("Controller.1.configuration", ""), keyText, ""},
		{"configure without an index", call("Controller.1.configuration", `{}`), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Could not access requested service","data":{"cause":"cannot configure: name the instance, as in configuration@Callsign"}}}`, ""},
		{"configure nobody", call("Controller.1.configuration@Nope", `{}`), keyText, ""},
		{"configure with no object", call("Controller.1.configuration@P", `[1]`), `{"jsonrpc":"2.0","id":1,"error":{"code":23,"message":"ERROR_INCOMPLETE_CONFIG","data":{"cause":"a configuration is a JSON object: params are not an object"}}}`, ""},
		{"configure with two of a key", call("Controller.1.configuration@P", `{"a":1,"a":2}`), `{"jsonrpc":"2.0","id":1,"error":{"code":23,"message":"ERROR_INCOMPLETE_CONFIG","data":{"cause":"a configuration is a JSON object: params have more than one \"a\""}}}`, ""},
		{"configure what is active", call("Controller.1.configuration@Plain", `{}`), `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"ERROR_GENERAL","data":{"cause":"cannot configure: Plain is active, deactivate it first"}}}`, ""},

		{"clone the controller", call("Controller.1.clone", `{"callsign":"Controller","newcallsign":"X"}`), privileged, ""},
		{"clone to nothing", call("Controller.1.clone", `{"callsign":"P","newcallsign":""}`), privileged, ""},
		{"clone without a name", call("Controller.1.clone", `{"callsign":"P"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Could not access requested service","data":{"cause":"the parameter \"newcallsign\" is missing: the callsign of the new instance"}}}`, ""},
		{"destroy the controller", call("Controller.1.destroy", `{"callsign":"Controller"}`), privileged, ""},

		{"delete", call("Controller.1.delete", `{"path":"P/kept"}`), ok, ""},
		{"delete again", call("Controller.1.delete", `{"path":"P/kept/file"}`), noFile, ""},
		{"delete above", call("Controller.1.delete", `{"path":"P/../../x"}`), outside, ""},
		{"delete what is elsewhere", call("Controller.1.delete", `{"path":"/etc/passwd"}`), outside, ""},
		{"delete nothing", call("Controller.1.delete", `{"path":""}`), `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"ERROR_UNKNOWN_KEY","data":{"cause":"the path is empty"}}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32604,"message":"Method invocation not allowed.","data":{"cause":"the path is empty"}}}`},
		{"delete everything", call("Controller.1.delete", `{"path":"."}`), outside, ""},
		{"delete a file of the Controller's", call("Controller.1.delete", `{"path":"own"}`), ok, ""},
		{"delete it again", call("Controller.1.delete", `{"path":"own"}`), noFile, ""},
		{"delete a directory of the Controller's", call("Controller.1.delete", `{"path":"logs/old"}`), ok, ""},
		{"delete a name that no file has", call("Controller.1.delete", `{"path":"P/a\u0000b"}`), noFile, ""},
		{"delete too long a name", call("Controller.1.delete", `{"path":"P/`+strings.Repeat("a", 300)+`"}`), noFile, ""},
		{"delete an instance's directory", call("Controller.1.delete", `{"path":"./P"}`), noFile, ""},
		{"delete through a link", call("Controller.1.delete", `{"path":"P/link/file"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":-32604,"message":"method invocation not allowed.","data":{"cause":"the path leads out of the persistent directory"}}}`, ""},

		{"reboot", call("Controller.1.harakiri", `{"callsign":"Controller"}`), ok, ""},
		{"reload", call("Controller.1.reload", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"ERROR_GENERAL","data":{"cause":"line 3: no such key"}}}`, ""},
		{"discovery", call("Controller.1.startdiscovery", `{"ttl":1}`), ok, ""},
		{"discovery without parameters", call("Controller.1.startdiscovery", ""), ok, ""},
		{"discovery of nothing", call("Controller.1.startdiscovery", `{"ttl":0}`), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Could not access requested service","data":{"cause":"the parameter \"ttl\" is not a number from 1 to 255"}}}`, ""},
		{"results of it", call("Controller.1.discoveryresults", ""), `{"jsonrpc":"2.0","id":1,"result":[]}`, ""},
		{"proxies", call("Controller.1.proxies", ""), `{"jsonrpc":"2.0","id":1,"result":[{"interface":"Shell","name":"Plain","instance":"0x1","count":2,"origin":"3@native"}]}`, ""},
		{"proxies of a link", call("Controller.1.proxies@native", ""), `{"jsonrpc":"2.0","id":1,"result":[{"interface":"Shell","name":"Plain","instance":"0x1","count":2}]}`, ""},
		{"proxies of no link", call("Controller.1.proxies@3", ""), keyText, ""},
		{"pending requests", call("Controller.1.pendingrequests", ""), `{"jsonrpc":"2.0","id":1,"result":[]}`, ""},
		{"call stack of nothing", call("Controller.1.callstack", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Could not access requested service","data":{"cause":"name the lane, as in callstack@0"}}}`, ""},
		{"call stack of no lane", call("Controller.1.callstack@11", ""), keyText, ""},

		{"control", call("Auto.1.statecontrol::state", ""), `{"jsonrpc":"2.0","id":1,"result":"Resumed"}`, ""},
		{"control, suspend", call("Auto.1.statecontrol::request", `{"command":"Suspend"}`), ok, ""},
		{"control, suspend again", call("Auto.1.statecontrol::request", `{"command":"Suspend"}`), illegalText + `cannot suspend: the instance is in a state that does not allow this: it is already suspended"}}}`, ""},
		{"control, suspended", call("Auto.1.statecontrol::state", ""), `{"jsonrpc":"2.0","id":1,"result":"Suspended"}`, ""},
		{"control, resume", call("Auto.1.statecontrol::request", `{"command":"Resume"}`), ok, ""},
		{"state", call("Auto.1.state", ""), `{"jsonrpc":"2.0","id":1,"result":"resumed"}`, unknownText},
		{"state, suspend", call("Auto.1.state", `"suspended"`), ok, unknownText},
		{"state, suspend again", call("Auto.1.state", `"suspended"`), ok, unknownText},
		{"state, resume", call("Auto.1.state", `{"value":"resumed"}`), ok, unknownText},
		{"state, something else", call("Auto.1.state", `"exited"`), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Could not access requested service","data":{"cause":"the state \"exited\" is neither \"suspended\" nor \"resumed\""}}}`, unknownText},
		{"state while deactivated", call("Bad.1.state", ""), inactiveText + `deactivated"}}}`, ""},
		{"state without state control", call("Plain.1.state", ""), unknownText, unknownText},
		{"state of the plugin's own", call("NoEngine.1.state", `[1]`), `{"jsonrpc":"2.0","id":1,"result":[1]}`, ""},
		{"state exists", call("Auto.1.exists", `{"method":"state"}`), `{"jsonrpc":"2.0","id":1,"result":true}`, `{"jsonrpc":"2.0","id":1,"result":false}`},
		{"control, another command", call("Auto.1.statecontrol::request", `{"command":"Sleep"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Could not access requested service","data":{"cause":"the command \"Sleep\" is neither Suspend nor Resume"}}}`, ""},
		{"control while deactivated", call("Bad.1.statecontrol::state", ""), inactiveText + `deactivated"}}}`, ""},
		{"control of a plugin that has none", call("Plain.1.statecontrol::state", ""), unknownText, ""},
		{"control exists", call("Auto.1.exists", `{"method":"statecontrol::request"}`), `{"jsonrpc":"2.0","id":1,"result":true}`, ""},
		{"control does not exist", call("Plain.1.exists", `{"method":"statecontrol::request"}`), `{"jsonrpc":"2.0","id":1,"result":false}`, ""},

		{"status of nobody", call("Controller.1.status@Nope", ""), keyText, ""},
		{"activate", call("Controller.1.activate", `{"callsign":"P"}`), ok, ""},
		{"activate again", call("Controller.1.activate", `{"callsign":"P","more":1}`), ok, ""},
		{"activate nobody", call("Controller.1.activate", `{"callsign":"Nope"}`), keyText, ""},
		{"activate the controller", call("Controller.1.activate", `{"callsign":"Controller"}`), privileged, ""},
		{"activate without a callsign", call("Controller.1.activate", `{}`), missingText, ""},
		{"activate without parameters", call("Controller.1.activate", ""), missingText, ""},
		{"names are case-sensitive", call("Controller.1.activate", `{"Callsign":"P"}`), missingText, ""},
		{"wrong type", call("Controller.1.activate", `{"callsign":["P"]}`), `{"jsonrpc":"2.0","id":1,"error":{"code":50,"message":"ERROR_PARSE_FAILURE","data":{"cause":"the parameter \"callsign\" is not a string"}}}`, ""},
		{"no object", call("Controller.1.activate", `"P"`), `{"jsonrpc":"2.0","id":1,"error":{"code":50,"message":"ERROR_PARSE_FAILURE","data":{"cause":"params are not an object"}}}`, ""},
		{"a number is taken as text", call("Controller.1.activate", `{"callsign":5}`), keyText, ""},
		{"deactivate", call("Controller.1.deactivate", `{"callsign":"P"}`), ok, ""},
		{"deactivate again", call("Controller.1.deactivate", `{"callsign":"P"}`), ok, ""},
		{"failed initialization", call("Controller.1.activate", `{"callsign":"Bad"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":6,"message":"ERROR_OPENING_FAILED","data":{"cause":"initialization failed: no such tuner"}}}`, ""},
		{"failed instantiation", call("Controller.1.activate", `{"callsign":"NoLib"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":6,"message":"ERROR_OPENING_FAILED","data":{"cause":"instantiation failed: no such file"}}}`, ""},
		{"failed deactivation", call("Controller.1.deactivate", `{"callsign":"Stuck"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":19,"message":"ERROR_CLOSING_FAILED","data":{"cause":"a process is left over"}}}`, ""},
		{"activate what is unavailable", call("Controller.1.activate", `{"callsign":"Unav"}`), illegalText + `cannot activate: the instance is in a state that does not allow this: it is unavailable"}}}`, ""},
		{"the way out of unavailable", call("Controller.1.deactivate", `{"callsign":"Unav"}`), ok, ""},
		{"activate it then", call("Controller.1.activate", `{"callsign":"Unav"}`), ok, ""},
		{"restart what does not run", call("Controller.1.restart", `{"callsign":"P"}`), ok, ""},
		{"restart", call("Controller.1.restart", `{"callsign":"P"}`), ok, ""},
		{"restart what fails", call("Controller.1.restart", `{"callsign":"Bad"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":6,"message":"ERROR_OPENING_FAILED","data":{"cause":"initialization failed: no such tuner"}}}`, ""},
		{"restart the controller", call("Controller.1.restart", `{"callsign":"Controller"}`), privileged, ""},
		{"deactivate it again", call("Controller.1.deactivate", `{"callsign":"P"}`), ok, ""},
		{"unavailable", call("Controller.1.unavailable", `{"callsign":"P"}`), ok, ""},
		{"unavailable again", call("Controller.1.unavailable", `{"callsign":"P"}`), ok, ""},
		{"unavailable while activated", call("Controller.1.unavailable", `{"callsign":"Plain"}`), illegalText + `cannot make unavailable: the instance is in a state that does not allow this: it is activated"}}}`, ""},

		{"suspend", call("Controller.1.suspend", `{"callsign":"Auto"}`), ok, ""},
		{"suspend again", call("Controller.1.suspend", `{"callsign":"Auto"}`), illegalText + `cannot suspend: the instance is in a state that does not allow this: it is already suspended"}}}`, ""},
		{"resume", call("Controller.1.resume", `{"callsign":"Auto"}`), ok, ""},
		{"resume again", call("Controller.1.resume", `{"callsign":"Auto"}`), illegalText + `cannot resume: the instance is in a state that does not allow this: it is already resumed"}}}`, ""},
		{"suspend without state control", call("Controller.1.suspend", `{"callsign":"Plain"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":2,"message":"ERROR_UNAVAILABLE","data":{"cause":"cannot suspend: the instance has no state control now"}}}`, ""},
		{"suspend the controller", call("Controller.1.suspend", `{"callsign":"Controller"}`), privileged, ""},

		{"hibernate nobody", call("Controller.1.hibernate", `{"callsign":"Nope"}`), keyText, ""},
		{"hibernate the controller", call("Controller.1.hibernate", `{"callsign":"Controller","timeout":1000}`), noService, ""},
		{"hibernate without a callsign", call("Controller.1.hibernate", `{"timeout":1000}`), missingText, ""},
		{"hibernate an empty callsign", call("Controller.1.hibernate", `{"callsign":""}`), noService, ""},
		{"hibernate within never", call("Controller.1.hibernate", `{"callsign":"Auto","timeout":-1}`), `{"jsonrpc":"2.0","id":1,"error":{"code":50,"message":"ERROR_PARSE_FAILURE","data":{"cause":"the parameter \"timeout\" is not a number of milliseconds"}}}`, ""},
		{"hibernate what runs in the host", call("Controller.1.hibernate", `{"callsign":"Inside"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":47,"message":"ERROR_INPROC","data":{"cause":"cannot hibernate: the instance runs inside the host"}}}`, ""},
		{"hibernate what is deactivated", call("Controller.1.hibernate", `{"callsign":"Bad"}`), illegalText + `cannot hibernate: the instance is in a state that does not allow this: it is deactivated"}}}`, ""},
		{"hibernate what is resumed", call("Controller.1.hibernate", `{"callsign":"Auto"}`), illegalText + `cannot hibernate: the instance is in a state that does not allow this: it is resumed, suspend it first"}}}`, ""},
		{"hibernate without an engine", call("Controller.1.hibernate", `{"callsign":"NoEngine"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":44,"message":"ERROR_NOT_SUPPORTED","data":{"cause":"not supported on this host: install criu"}}}`, ""},
		{"suspend it first", call("Controller.1.suspend", `{"callsign":"Auto"}`), ok, ""},
		{"hibernate", call("Controller.1.hibernate", `{"callsign":"Auto","timeout":"5000"}`), ok, ""},
		{"call what is hibernated", call("Auto.1.echo", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":46,"message":"Service is hibernated"}}`, ""},
		{"hibernate again", call("Controller.1.hibernate", `{"callsign":"Auto"}`), illegalText + `cannot hibernate: the instance is in a state that does not allow this: it is hibernated"}}}`, ""},
		{"suspend what is hibernated", call("Controller.1.suspend", `{"callsign":"Auto"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":2,"message":"ERROR_UNAVAILABLE","data":{"cause":"cannot suspend: the instance has no state control now: it is hibernated, activate it first"}}}`, ""},
		{"unavailable while hibernated", call("Controller.1.unavailable", `{"callsign":"Auto"}`), illegalText + `cannot make unavailable: the instance is in a state that does not allow this: it is hibernated"}}}`, ""},
		{"wake", call("Controller.1.activate", `{"callsign":"Auto"}`), ok, ""},
		{"call after the wake", call("Auto.1.echo", `true`), `{"jsonrpc":"2.0","id":1,"result":true}`, ""},

		{"register", call("Controller.1.register", `{"event":"bogus","id":"c"}`), zero, ok},
		{"register twice", call("Controller.1.register", `{"event":"bogus","id":"c"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"Registration already done!!!.","data":{"cause":"the same event, id and index are registered already"}}}`, ""},
		{"register another id", call("Controller.1.register", `{"event":"bogus","id":"d"}`), zero, ok},
		{"register with an index", call("Controller.1.register@P", `{"event":"bogus","id":"c"}`), zero, ok},
		{"register without an id", call("Controller.1.register", `{"event":"bogus"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid parameters.","data":{"cause":"the parameter \"id\" is missing: what the method of the notifications begins with"}}}`, ""},
		{"register with a deactivated plugin", call("Bad.1.register", `{"event":"changed","id":"c"}`), zero, ok},
		{"register with a long id", call("Controller.1.register", `{"event":"x","id":"`+strings.Repeat("x", 257)+`"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid parameters.","data":{"cause":"event, id and index have at most 256 bytes each"}}}`, ""},
		{"unregister", call("Controller.1.unregister", `{"event":"bogus","id":"c"}`), zero, ok},
		{"unregister twice", call("Controller.1.unregister", `{"event":"bogus","id":"c"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"Unregister was already done!!!."}}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.tb = t
			if tt.r5 == "" {
				tt.r5 = sameError.Replace(tt.want)
			}
			if spoken == "r5" {
				tt.want = tt.r5
			}
			c.send(tt.send)
			got := c.receive()
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			h.checkDocumented(t, spoken, tt.send, got)
		})
	}
	c.tb = t
}

// checkDocumented checks that the row of a Controller's method lists its error.
func (h *host) checkDocumented(t *testing.T, spoken, request, answer string) {
	t.Helper()
	var sent struct{ Method string }
	var got struct{ Error *struct{ Code int } }
	if json.Unmarshal([]byte(request), &sent) != nil || json.Unmarshal([]byte(answer), &got) != nil || got.Error == nil {
		return // malformed on purpose, a batch, or a success
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(sent.Method, "Controller.1."), "@")
	m, ok := h.methods[name]
	if !ok || !strings.HasPrefix(sent.Method, "Controller.1.") {
		return
	}
	d, err := dialect.ByName(spoken)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(m.possibleErrorNumbers(), func(n thunder.ErrorNumber) bool { return dialect.ErrorForNumber(d, n).Code == got.Error.Code }) {
		t.Errorf("%s does not document the error %d", name, got.Error.Code)
	}
}

// persistentFiles is a root in which P and the Controller have kept something.
func persistentFiles(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	kept := filepath.Join(root, "persistent", "P", "kept")
	own := filepath.Join(root, "persistent", "Controller")
	for _, dir := range []string{kept, filepath.Join(own, "logs", "old")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{filepath.Join(kept, "file"), filepath.Join(root, "file"), filepath.Join(own, "own")} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(root, filepath.Join(root, "persistent", "P", "link")); err != nil {
		t.Fatal(err)
	}
	return root
}
