package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/supervisor"
)

// resources is the REST interface of the Controller, by HTTP method and name.
var resources = map[string]Resource{
	"GET ":              Request.instancesLinksAndLanes,
	"GET Plugins":       resultAsMember("plugins", "status"),
	"GET Links":         resultAsMember("channel", "links"),
	"GET Process":       Request.lanesAsThreads,
	"GET Plugin":        Request.pluginRecord,
	"GET Environment":   Request.environmentVariable,
	"GET Configuration": Request.pluginConfiguration,
	"GET Callstack":     Request.callstack,
	"GET SubSystems":    Request.subsystemsByName,
	"GET Version":       Request.version,
	"GET Discovery":     Request.refuseDiscovery,

	"PUT Activate":      operationResource("activate", "activated"),
	"PUT Deactivate":    operationResource("deactivate", "deactivated"),
	"PUT Unavailable":   operationResource("unavailable", "made unavailable"),
	"PUT Suspend":       operationResource("suspend", "suspended"),
	"PUT Resume":        operationResource("resume", "resumed"),
	"PUT Hibernate":     operationResource("hibernate", "hibernated"),
	"PUT Configuration": Request.configure,
	"PUT Persist":       Request.persistAll,
	"PUT Discovery":     Request.refuseDiscovery,
	"PUT Harakiri":      Request.rebootMachine,

	"DELETE Persistent": Request.deleteFile,
}

// object is a JSON object by its members.
type object map[string]any

// resultAsMember returns the resource that calls a method without parameters and
// answers with an object whose one member is the method's result.
func resultAsMember(member, method string) Resource {
	return func(r Request) (any, error) {
		elements, err := r.Call(method, "", nil)
		return object{member: elements}, err
	}
}

// instancesLinksAndLanes returns the records of all instances, the connections and the lanes.
func (r Request) instancesLinksAndLanes() (any, error) {
	plugins, err := r.Call("status", "", nil)
	if err != nil {
		return nil, err
	}
	links, err := r.Call("links", "", nil)
	if err != nil {
		return nil, err
	}
	threads, err := r.Call("threads", "", nil)
	return object{"plugins": plugins, "channel": links, "server": object{"threads": threads}}, err
}

// lanesAsThreads returns the lanes of all instances.
func (r Request) lanesAsThreads() (any, error) {
	threads, err := r.Call("threads", "", nil)
	return object{"server": object{"threads": threads}}, err
}

// pluginRecord returns the record of the instance in the path, without the array that
// R4 puts it in.
func (r Request) pluginRecord() (any, error) {
	if err := r.requireArgument("a callsign"); err != nil {
		return nil, err
	}
	found, err := r.Call("status", r.Argument, nil)
	if err != nil {
		return nil, r.rewordUnknownKey(err)
	}
	return json.RawMessage(bytes.TrimSuffix(bytes.TrimPrefix(found, []byte("[")), []byte("]"))), nil
}

// environmentVariable returns the value of the variable in the path, or 204 if there is none.
func (r Request) environmentVariable() (any, error) {
	if err := r.requireArgument("a variable"); err != nil {
		return nil, err
	}
	value, err := r.Call("environment", r.Argument, nil)
	if err != nil && thunder.WithNumber(err).Number == thunder.UnknownKey {
		return nil, &Error{http.StatusNoContent, "Environment variable does not exist"}
	}
	return object{"value": value}, err
}

// pluginConfiguration returns the plugin's own configuration of the instance in the path.
func (r Request) pluginConfiguration() (any, error) {
	if err := r.requireArgument("a callsign"); err != nil {
		return nil, err
	}
	result, err := r.Call("configuration", r.Argument, nil)
	return result, r.rewordUnknownKey(err)
}

// callstack returns the stack of the lane whose position is in the path.
func (r Request) callstack() (any, error) {
	if r.Argument == "" {
		return nil, &Error{http.StatusBadRequest, "Please supply an index for the callstack you need!"}
	}
	return r.Call("callstack", r.Argument, nil)
}

// subsystemsByName returns an object with each subsystem's name, and whether it is up.
func (r Request) subsystemsByName() (any, error) {
	found, err := r.Call("subsystems", "", nil)
	if err != nil {
		return nil, err
	}
	var all []supervisor.Subsystem
	if err := json.Unmarshal(found, &all); err != nil {
		return nil, err
	}
	active := make(map[string]bool)
	for _, s := range all {
		active[s.Name] = s.Active
	}
	return object{"subsystems": active}, nil
}

// version returns the version of the host.
func (r Request) version() (any, error) { return r.Call("version", "", nil) }

// refuseDiscovery answers as Thunder does without a probe: the host does not search the
// network.
func (Request) refuseDiscovery() (any, error) {
	return nil, &Error{http.StatusBadRequest, "Probe functionality not enabled!"}
}

// operationResource returns the resource that runs a lifecycle method on the instance
// in the path. participle is the method's past participle. An operation that the
// instance's state does not allow is answered with 409; Thunder says 200 and does
// nothing.
func operationResource(method, participle string) Resource {
	return func(r Request) (any, error) {
		switch r.Argument {
		case "":
			return nil, r.requireArgument("a callsign")
		case configs.ControllerCallsign:
			return nil, &Error{http.StatusForbidden, "The PluginHost Controller can not be " + participle + "."}
		}
		params := object{"callsign": r.Argument}
		if timeout := r.Query.Get("timeout"); timeout != "" {
			params["timeout"] = timeout
		}
		_, err := r.Call(method, "", jsonrpc.MustMarshal(params))
		return nil, r.rewordUnknownKey(err)
	}
}

// configure replaces the plugin's own configuration of the instance in the path by the
// body.
func (r Request) configure() (any, error) {
	if r.Argument == "" || len(r.Body) == 0 {
		return nil, &Error{http.StatusBadRequest, "Not sufficent data to comply to the request"} //nolint:misspell // as Thunder spells it
	}
	if !json.Valid(r.Body) {
		return nil, &Error{http.StatusBadRequest, "Could not update the config. Error: the body is not JSON"}
	}
	_, err := r.Call("configuration", r.Argument, r.Body)
	if err = r.rewordUnknownKey(err); err == nil {
		return nil, nil
	}
	no := restErrorOf(err)
	return nil, &Error{no.Status, "Could not update the config. Error: " + no.Text}
}

// persistAll keeps the changed configurations of all instances across restarts of the
// host.
func (r Request) persistAll() (any, error) {
	_, err := r.Call("persist", "", nil)
	return sentence("Current configuration stored"), err
}

// rebootMachine restarts the machine.
func (r Request) rebootMachine() (any, error) {
	_, err := r.Call("reboot", "", nil)
	return nil, err
}

// deleteFile deletes the file in the path, below the persistent directories.
func (r Request) deleteFile() (any, error) {
	if err := r.requireArgument("a file"); err != nil {
		return nil, err
	}
	_, err := r.Call("delete", "", jsonrpc.MustMarshal(object{"path": r.Argument}))
	_, refused := errors.AsType[*access.RefusalError](err)
	if err != nil && !refused && thunder.WithNumber(err).Number == thunder.PrivilegedRequest {
		return nil, &Error{http.StatusBadRequest, "incorrect path"}
	}
	return nil, err
}

// requireArgument returns an error if the path has no argument. expected names the
// argument in the error's text.
func (r Request) requireArgument(expected string) error {
	if r.Argument != "" {
		return nil
	}
	return &Error{http.StatusBadRequest, "the path must end with " + expected}
}

// rewordUnknownKey returns err in Thunder's words if it says that there is no
// instance of the callsign in the path.
func (r Request) rewordUnknownKey(err error) error {
	if err != nil && thunder.WithNumber(err).Number == thunder.UnknownKey {
		return &Error{http.StatusNotFound, "There is no callsign: " + r.Argument}
	}
	return err
}
