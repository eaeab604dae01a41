package controller

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The cases run in order on one host; each names what a client sends and the
// bytes that it must get.
func TestConformance(t *testing.T) {
	const (
		unknownText  = `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Unknown method."}}`
		ok           = `{"jsonrpc":"2.0","id":1,"result":null}`
		zero         = `{"jsonrpc":"2.0","id":1,"result":0}`
		keyText      = `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"ERROR_UNKNOWN_KEY"}}`
		privileged   = `{"jsonrpc":"2.0","id":1,"error":{"code":-32604,"message":"method invocation not allowed."}}`
		noService    = `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Could not access requested service"}}`
		inactiveText = `{"jsonrpc":"2.0","id":1,"error":{"code":2,"message":"Service is not active","data":{"cause":"the instance is not active: it is `
		illegalText  = `{"jsonrpc":"2.0","id":1,"error":{"code":5,"message":"The service is in an illegal state!!!.","data":{"cause":"`
		missingText  = `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Could not access requested service","data":{"cause":"the parameter \"callsign\" is missing: the instance"}}}`
	)
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	for _, tt := range []struct{ name, send, want string }{
		{"framework", call("Controller.1.framework", ""), `{"jsonrpc":"2.0","id":1,"result":{"hash":"v1.2.3-4-gabc","major":1,"minor":2,"patch":3}}`},
		{"version optional", call("Controller.version", ""), `{"jsonrpc":"2.0","id":1,"result":{"hash":"v1.2.3-4-gabc","major":1,"minor":2,"patch":3}}`},
		{"version beyond 254 is none", call("Controller.300.exists", `{"method":"status"}`), `{"jsonrpc":"2.0","id":1,"result":true}`},
		{"unknown method", call("Controller.1.nope", ""), unknownText},
		{"unknown version", call("Controller.2.status", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Requested version is not supported."}}`},
		{"unknown callsign", call("Nope.1.x", ""), noService},
		{"callsigns are case-sensitive", call("controller.status", ""), noService},
		{"methods are case-sensitive", call("Controller.Status", ""), unknownText},
		{"no callsign", call("foobar", ""), unknownText},
		{"not a designator", call("Controller.", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"Destined invoke failed.","data":{"cause":"the method is not a designator: no name of a method in \"Controller.\""}}}`},
		{"a bridge that is none", call("P/Controller.1.status", `{}`), noService},
		{"deactivated", call("P.1.echo", ""), inactiveText + `deactivated"}}}`},
		{"dotted callsign", call("org.test.Dotted.1.echo", `[1]`), `{"jsonrpc":"2.0","id":1,"result":[1]}`},
		{"dotted callsign without version", call("org.test.Dotted.echo", `"x"`), `{"jsonrpc":"2.0","id":1,"result":"x"}`},
		{"prefix", call("Plain.1.org::echo", `{"a" : 1.0}`), `{"jsonrpc":"2.0","id":1,"result":{"a" : 1.0}}`},
		{"index", call("Plain.1.index@a.b@c", ""), `{"jsonrpc":"2.0","id":1,"result":"a.b@c"}`},
		{"unknown method of a plugin", call("Plain.1.nope", ""), unknownText},
		{"parameters that a plugin refuses", call("Plain.1.invalid", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid parameters.","data":{"cause":"invalid parameters: volume is missing"}}}`},
		{"error of a plugin", call("Plain.1.fail", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"no such channel","data":{"channel":7}}}`},
		{"error of a plugin without a text", call("Plain.1.fail30", ""), noService},
		{"JSON-RPC error of a plugin", call("Plain.1.failnegative", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32099,"message":"mine"}}`},
		{"result that is not JSON", call("Plain.1.broken", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Unknown JSON-RPC error.","data":{"cause":"the plugin's result is not JSON"}}}`},
		{"result that is not UTF-8", call("Plain.1.latin", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Unknown JSON-RPC error.","data":{"cause":"the plugin's result is not JSON"}}}`},
		{"panic", call("Plain.1.panic", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"Unknown JSON-RPC error."}}`},
		{"busy", call("Plain.1.busy", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":12,"message":"ERROR_INPROGRESS","data":{"retryAfterMs":1000}}}`},

		{"id 0", `{"id":0,"method":"Plain.echo"}`, `{"jsonrpc":"2.0","id":0,"result":null}`},
		{"largest id", `{"id":9007199254740992,"method":"Plain.echo"}`, `{"jsonrpc":"2.0","id":9007199254740992,"result":null}`},
		{"string id", `{"id":"12","method":"Plain.echo"}`, `{"jsonrpc":"2.0","id":"12","result":null}`},
		{"null id", `{"id":null,"method":"Plain.echo"}`, `{"jsonrpc":"2.0","id":null,"result":null}`},
		{"fractional id", `{"id":1.5,"method":"Plain.echo"}`, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"the message is not a JSON-RPC request: its id 1.5 is not a whole number of at most 2^53"}}`},
		{"no method", `{"id":7}`, `{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"the message is not a JSON-RPC request: it has no method"}}`},
		{"malformed", `{"id":7`, `{"jsonrpc":"2.0","error":{"code":-32700,"message":"the message is not JSON: unexpected end of JSON input"}}`},
		{"failing notification", `{"method":"Plain.nope"}`, `{"jsonrpc":"2.0","error":{"code":-32601,"message":"Unknown method."}}`},
		{"batch", `[{"id":1,"method":"Plain.echo","params":[1]},{"method":"Plain.echo"},5,{"id":"b","method":"Plain.nope"}]`,
			`[{"jsonrpc":"2.0","id":1,"result":[1]},{"jsonrpc":"2.0","error":{"code":-32600,"message":"the message is not a JSON-RPC request: an element of the batch is not an object"}},{"jsonrpc":"2.0","id":"b","error":{"code":-32601,"message":"Unknown method."}}]`},
		{"empty batch", `[]`, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"the message is not a JSON-RPC request: the batch is empty"}}`},

		{"exists", call("Controller.1.exists", `{"method":"activate"}`), `{"jsonrpc":"2.0","id":1,"result":true}`},
		{"exists is case-sensitive", call("Controller.1.exists", `{"method":"Activate"}`), `{"jsonrpc":"2.0","id":1,"result":false}`},
		{"exists as of old", call("Controller.1.exists", `"services"`), zero},
		{"exists as of old, unknown", call("Controller.1.exists", `"nope"`), `{"jsonrpc":"2.0","id":1,"result":22}`},
		{"exists without a name", call("Controller.1.exists", ""), `{"jsonrpc":"2.0","id":1,"result":22}`},
		{"exists of a plugin", call("Plain.1.exists", `{"method":"echo"}`), `{"jsonrpc":"2.0","id":1,"result":true}`},
		{"exists of what all have", call("P.1.exists", `{"method":"register"}`), `{"jsonrpc":"2.0","id":1,"result":true}`},
		{"exists of a deactivated plugin", call("P.1.exists", `{"method":"echo"}`), inactiveText + `deactivated"}}}`},

		{"status of nobody", call("Controller.1.status@Nope", ""), keyText},
		{"activate", call("Controller.1.activate", `{"callsign":"P"}`), ok},
		{"activate again", call("Controller.1.activate", `{"callsign":"P","more":1}`), ok},
		{"activate nobody", call("Controller.1.activate", `{"callsign":"Nope"}`), keyText},
		{"activate the controller", call("Controller.1.activate", `{"callsign":"Controller"}`), privileged},
		{"activate without a callsign", call("Controller.1.activate", `{}`), missingText},
		{"activate without parameters", call("Controller.1.activate", ""), missingText},
		{"names are case-sensitive", call("Controller.1.activate", `{"Callsign":"P"}`), missingText},
		{"wrong type", call("Controller.1.activate", `{"callsign":["P"]}`), `{"jsonrpc":"2.0","id":1,"error":{"code":50,"message":"the parameter \"callsign\" is not a string"}}`},
		{"no object", call("Controller.1.activate", `"P"`), `{"jsonrpc":"2.0","id":1,"error":{"code":50,"message":"params are not an object"}}`},
		{"a number is taken as text", call("Controller.1.activate", `{"callsign":5}`), keyText},
		{"deactivate", call("Controller.1.deactivate", `{"callsign":"P"}`), ok},
		{"deactivate again", call("Controller.1.deactivate", `{"callsign":"P"}`), ok},
		{"failed initialization", call("Controller.1.activate", `{"callsign":"Bad"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":6,"message":"initialization failed: no such tuner"}}`},
		{"failed instantiation", call("Controller.1.activate", `{"callsign":"NoLib"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":6,"message":"instantiation failed: no such file"}}`},
		{"failed deactivation", call("Controller.1.deactivate", `{"callsign":"Stuck"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":19,"message":"a process is left over"}}`},
		{"activate what is unavailable", call("Controller.1.activate", `{"callsign":"Unav"}`), illegalText + `cannot activate: the instance is in a state that does not allow this: it is unavailable"}}}`},
		{"the way out of unavailable", call("Controller.1.deactivate", `{"callsign":"Unav"}`), ok},
		{"activate it then", call("Controller.1.activate", `{"callsign":"Unav"}`), ok},
		{"unavailable", call("Controller.1.unavailable", `{"callsign":"P"}`), ok},
		{"unavailable again", call("Controller.1.unavailable", `{"callsign":"P"}`), ok},
		{"unavailable while activated", call("Controller.1.unavailable", `{"callsign":"Plain"}`), illegalText + `cannot unavailable: the instance is in a state that does not allow this: it is activated"}}}`},

		{"suspend", call("Controller.1.suspend", `{"callsign":"Auto"}`), ok},
		{"suspend again", call("Controller.1.suspend", `{"callsign":"Auto"}`), illegalText + `cannot suspend: the instance is in a state that does not allow this: it is already suspended"}}}`},
		{"resume", call("Controller.1.resume", `{"callsign":"Auto"}`), ok},
		{"resume again", call("Controller.1.resume", `{"callsign":"Auto"}`), illegalText + `cannot resume: the instance is in a state that does not allow this: it is already resumed"}}}`},
		{"suspend without state control", call("Controller.1.suspend", `{"callsign":"Plain"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":2,"message":"ERROR_UNAVAILABLE","data":{"cause":"cannot suspend: the instance has no state control now"}}}`},
		{"suspend the controller", call("Controller.1.suspend", `{"callsign":"Controller"}`), privileged},

		{"hibernate nobody", call("Controller.1.hibernate", `{"callsign":"Nope"}`), keyText},
		{"hibernate the controller", call("Controller.1.hibernate", `{"callsign":"Controller","timeout":1000}`), noService},
		{"hibernate without a callsign", call("Controller.1.hibernate", `{"timeout":1000}`), missingText},
		{"hibernate an empty callsign", call("Controller.1.hibernate", `{"callsign":""}`), noService},
		{"hibernate within never", call("Controller.1.hibernate", `{"callsign":"Auto","timeout":-1}`), `{"jsonrpc":"2.0","id":1,"error":{"code":50,"message":"the parameter \"timeout\" is not a number of milliseconds"}}`},
		{"hibernate what runs in the host", call("Controller.1.hibernate", `{"callsign":"Inside"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":47,"message":"ERROR_INPROC","data":{"cause":"cannot hibernate: the instance runs inside the host"}}}`},
		{"hibernate what is deactivated", call("Controller.1.hibernate", `{"callsign":"Bad"}`), illegalText + `cannot hibernate: the instance is in a state that does not allow this: it is deactivated"}}}`},
		{"hibernate what is resumed", call("Controller.1.hibernate", `{"callsign":"Auto"}`), illegalText + `cannot hibernate: the instance is in a state that does not allow this: it is resumed, suspend it first"}}}`},
		{"hibernate without an engine", call("Controller.1.hibernate", `{"callsign":"NoEngine"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":44,"message":"not supported on this host: install criu"}}`},
		{"suspend it first", call("Controller.1.suspend", `{"callsign":"Auto"}`), ok},
		{"hibernate", call("Controller.1.hibernate", `{"callsign":"Auto","timeout":"5000"}`), ok},
		{"call what is hibernated", call("Auto.1.echo", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":46,"message":"Service is hibernated"}}`},
		{"hibernate again", call("Controller.1.hibernate", `{"callsign":"Auto"}`), illegalText + `cannot hibernate: the instance is in a state that does not allow this: it is hibernated"}}}`},
		{"suspend what is hibernated", call("Controller.1.suspend", `{"callsign":"Auto"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":2,"message":"ERROR_UNAVAILABLE","data":{"cause":"cannot suspend: the instance has no state control now"}}}`},
		{"unavailable while hibernated", call("Controller.1.unavailable", `{"callsign":"Auto"}`), illegalText + `cannot unavailable: the instance is in a state that does not allow this: it is hibernated"}}}`},
		{"wake", call("Controller.1.activate", `{"callsign":"Auto"}`), ok},
		{"call after the wake", call("Auto.1.echo", `true`), `{"jsonrpc":"2.0","id":1,"result":true}`},

		{"register", call("Controller.1.register", `{"event":"bogus","id":"c"}`), zero},
		{"register twice", call("Controller.1.register", `{"event":"bogus","id":"c"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"Registration already done!!!.","data":{"cause":"the same event, id and index are registered already"}}}`},
		{"register another id", call("Controller.1.register", `{"event":"bogus","id":"d"}`), zero},
		{"register with an index", call("Controller.1.register@P", `{"event":"bogus","id":"c"}`), zero},
		{"register without an id", call("Controller.1.register", `{"event":"bogus"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid parameters.","data":{"cause":"the parameter \"id\" is missing: what the method of the notifications begins with"}}}`},
		{"register with a deactivated plugin", call("Bad.1.register", `{"event":"changed","id":"c"}`), zero},
		{"register with a long id", call("Controller.1.register", `{"event":"x","id":"`+strings.Repeat("x", 257)+`"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid parameters.","data":{"cause":"event, id and index have at most 256 bytes each"}}}`},
		{"unregister", call("Controller.1.unregister", `{"event":"bogus","id":"c"}`), zero},
		{"unregister twice", call("Controller.1.unregister", `{"event":"bogus","id":"c"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"Unregister was already done!!!."}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.tb = t
			c.send(tt.send)
			if diff := cmp.Diff(tt.want, c.receive()); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
	c.tb = t
}
