package controller

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"

	"github.com/google/go-cmp/cmp"
)

func TestReferenceInDocumentation(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "api.md")
	want := reference()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // documentation is for everybody
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is old (-want +got); go test ./plugins/controller -update writes it:\n%s", path, diff)
	}
}

// reference is docs/api.md: prose, and what the tables say.
func reference() string {
	var b strings.Builder
	b.WriteString(strings.TrimLeft(referenceHead, "\n"))
	b.WriteString("\n## Methods of Controller\n")
	for _, m := range controllerMethods() {
		m.refer(&b, configs.ControllerCallsign)
	}
	b.WriteString("\n## Methods of every callsign\n\nThe host serves them, whether or not the plugin runs.\n")
	for _, m := range commonMethods() {
		m.refer(&b, "<Callsign>")
	}
	b.WriteString(referenceRecord)
	for _, d := range []struct {
		name   string
		sample any
	}{{"thunder-r4", dialect.R4Record{}}, {"thunder-r5", dialect.R5Record{}}} {
		fmt.Fprintf(&b, "- `%s`: %s\n", d.name, members(d.sample))
	}
	b.WriteString(referenceEvents)
	b.WriteString(referenceErrors)
	for n := thunder.General; n.Name() != ""; n++ {
		r4, r5 := n.R4Error(), n.R5Error()
		fmt.Fprintf(&b, "| %d | %s | %d | %s | %d | %s |\n", n, n.Name(), r4.Code, r4.Text, r5.Code, r5.Text)
	}
	return strings.NewReplacer("~~~", "```", "~", "`").Replace(b.String())
}

func (m *method) refer(b *strings.Builder, callsign string) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n", m.name, m.doc)
	if m.form == property || m.form == variable {
		b.WriteString("- a property: called without params")
		if m.form == variable {
			b.WriteString(" it is read, with params written")
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(b, "- access: %s\n", m.accessText())
	if m.aliases != nil {
		fmt.Fprintf(b, "- also called `%s`\n", strings.Join(m.aliases, "`, `"))
	}
	if m.index != "" {
		fmt.Fprintf(b, "- index: %s, as `%s.1.%s@…`\n", m.index, callsign, m.name)
	}
	for _, p := range m.params {
		optional := ""
		if p.optional {
			optional = ", optional"
		}
		fmt.Fprintf(b, "- `%s` (%s%s): %s\n", p.name, p.kind, optional, p.doc)
	}
	fmt.Fprintf(b, "- returns %s: %s\n", shape(resultSchema(dialect.R4{}, m.result)), m.returns)
	var names []string
	for _, n := range m.possibleErrorNumbers() {
		names = append(names, n.Name())
	}
	if names = slices.Compact(names); names != nil {
		fmt.Fprintf(b, "- errors: %s\n", strings.Join(names, ", "))
	}
}

// accessText returns the access that callers of the method need, for the reference.
func (m *method) accessText() string {
	switch {
	case m.form == variable:
		return m.access.String() + ", to write " + m.writeAccess.String()
	case m.access == access.Call:
		return m.access.String() + ", for the events of Controller " + access.Read.String()
	}
	return m.access.String()
}

// shape is a schema in a few words.
func shape(s schema) string {
	switch s["type"] {
	case "array":
		return "an array of " + shape(s["items"].(schema)) //nolint:errcheck // schemaOf makes nothing else
	case "object":
		names := slices.Sorted(maps.Keys(s["properties"].(schema))) //nolint:errcheck // schemaOf makes nothing else
		if len(names) > 12 {
			return "records"
		}
		return "`{" + strings.Join(names, ", ") + "}`"
	case nil:
		return "JSON"
	}
	return fmt.Sprint(s["type"])
}

// members are the names of an object in the order in which they are sent.
func members(sample any) string {
	var names []string
	for _, field := range reflect.VisibleFields(reflect.TypeOf(sample)) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			names = append(names, "`"+name+"`")
		}
	}
	return strings.Join(names, ", ")
}

const referenceHead = `
# The JSON-RPC interface

This page is made from the tables in plugins/controller. The same, for programs, is what
~rpc.discover~ returns: an OpenRPC document, in the dialect of the client.

## Calling

A request is JSON-RPC 2.0, sent by POST to ~/jsonrpc~ or as a text message over a
websocket on ~/jsonrpc~, ~/jsonrpc/<Callsign>~ or ~/Service/<Callsign>~. The first
websocket subprotocol that a client offers is echoed, and all of them mean JSON-RPC.

~~~
{"jsonrpc":"2.0","id":1,"method":"Controller.1.activate","params":{"callsign":"Counter"}}
~~~

The method is ~[Callsign.][version.]method[@index]~. Callsigns may hold dots. The version
is 1. Without a callsign, the one in the path is meant, else Controller. All names are
case-sensitive.

Each method names the access that its caller needs. Each access includes those before it:

| access | what it allows |
| --- | --- |
| read | to see states and figures, and to get the host's events |
| call | to call plugins and get their events |
| operate | to move instances along their lifecycle |
| admin | to change which instances there are, their configuration, and the host |

[Security](security.md) says which client has which. A call without the access that it needs
fails with PRIVILIGED_REQUEST: ~data.cause~ names the access that is missing and how the operator
grants it. Over HTTP its status is 401 if the host does not know the client, else 403, in both
dialects. What a call is about is the instance that was called, or that its parameters or its
index name. Below operate the members that hold configuration, environment, paths, texts of
failures and addresses of other clients are empty.

The host accepts more than JSON-RPC 2.0: ~jsonrpc~ may be missing, ~params~ may be anything that
the method takes. An id is a number in any spelling, or a string, or null, and comes
back unchanged. A batch holds at most 100 requests, which are served one after the other;
a batch within a batch is refused. A message is at most 64 levels deep, and has each of
~id~, ~method~ and ~params~ at most once. Over HTTP a message that is not a request is answered
with id null; over a websocket without an id.

| over HTTP | thunder-r4 | thunder-r5 |
| --- | --- | --- |
| a result, a batch | 200 | 200 |
| an error, also of a request without a method | 202 | 200 |
| a notification that succeeded | 204 | 204 |
| a message that is not JSON, or not a request | 400 | 400 |

## Dialects

Thunder's clients come in two generations. ~thunder-r4~ is what devices in the field speak;
~thunder-r5~ is newer. A listener speaks the dialect of its configuration (~dialect~ in
~[host]~ and in each ~[[listener]]~), unless the URL of a client names another:
~/jsonrpc?dialect=r5~.

| | thunder-r4 | thunder-r5 |
| --- | --- | --- |
| code of error n | n | −31000−n |
| states in records | ~activated~ | ~Activated~ |
| ~services@X~, ~status@X~ | an array of one record | the record |
| result of register, unregister | 0 | null |
| register for ~statechange~ | | the state of each active instance is sent at once, before the answer |
| register for ~statecontrolstatechange~ with an index | | its state is sent at once |
| event ~all~ | ~{callsign, data, event}~ | ~{event, callsign, params}~ |
| ~Controller.1.1.status~, ~/jsonrpc/Controller.1~: a version in an unknown callsign | read as Controller's | an unknown callsign |
| a message that is not JSON, or not a request | −32700, −32600 | −31050 |

States in events are ~Activated~ in both.
`

const referenceRecord = `
## Records

The members of a record in ~services~, in order. Empty members are left out, and a built-in
has neither paths nor communicator. The members from ~pid~ on are not Thunder's, and the same
in both dialects. ~transition~ is there while an instance hibernates or wakes; its ~state~ is
then still the one before.

`

const referenceEvents = `
## Events

A notification has the method ~<id>.<event>~, with ~@index~ if it was registered with one.
The events that a call causes are sent before its answer. Neither event nor index need exist.
A client that does not keep up is cut off: it would miss events without knowing.

| callsign | event | params | with an index |
| --- | --- | --- | --- |
| Controller | statechange | ~{callsign, state, reason}~ | ~{state, reason}~ of that callsign |
| Controller | statecontrolstatechange | ~{callsign, state}~ | ~{state}~ of that callsign |
| Controller | subsystemchange | ~[{subsystem, active}]~, those that changed | that subsystem only |
| Controller | plugincreated, pluginremoved | ~{callsign, parent}~: an instance has come, has gone; parent only for a virtual plugin | ~{parent}~ for that callsign |
| Controller | pluginchanged | ~{callsign, parent}~: its plugin describes itself in another way, or was asked for the first time | ~{parent}~ for that callsign |
| Controller | wakefailed | ~{callsign, retryAfterMs}~: a hibernated plugin could not be woken now, and sleeps on | |
| Controller | lost | ~{callsign, at, class, generation, until, restorable}~: a plugin's state was given up | |
| Controller | all | every event of every plugin except those of state control; states in lower case | those of that callsign |
| any with state control | statecontrol::statechanged | ~{state}~ | |
| any | the plugin's own | the plugin's own | what the plugin says |

The states of ~statechange~ are Activated, Deactivated, Unavailable, Hibernated and Destroyed.
An instance that its conditions ended is Deactivated for the reason Conditions; its waiting for
them is not reported. A wake is Activated. An activation that failed is Deactivated.

## Errors

An error is ~{code, message}~, with ~data.cause~ if there is more to say; ~data.retryAfterMs~
is when to try again, ~data.options~ which parameters, each when true, lift a refusal. Number and message are Thunder's, in its spelling, whatever the cause.
A plugin's error has such a number too; its own text and data are passed on.

A call to an instance that is not active fails with UNAVAILABLE, a call to a hibernated instance
with HIBERNATED, unless calls wake it: such a call has not reached the plugin, and may be made
again. RPC_CALL_FAILED says that the plugin has got the call, or may have, and ended before it
answered: what the call asked for may be done. TIMEDOUT says in ~data.delivered~ whether
the plugin has got the call, or may have. To suspend a plugin without state control fails with
UNAVAILABLE in thunder-r4 and NOT_SUPPORTED in thunder-r5.
`

const referenceErrors = `
| n | name | thunder-r4 | | thunder-r5 | |
| --- | --- | --- | --- | --- | --- |
`
