package controller

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/thunder"
)

// resource serves one kind of REST request. It returns what is to be sent as
// JSON, a sentence, or nothing.
type resource func(visit) (any, error)

// restResources is the REST interface of the Controller: what a request for
// /Service/Controller/<name>/<argument> does. The empty name is the Controller
// itself.
func restResources() map[string]resource {
	return map[string]resource{
		"GET ":              visit.overview,
		"GET Plugins":       list("plugins", "status"),
		"GET Links":         list("channel", "links"),
		"GET Process":       visit.process,
		"GET Plugin":        visit.plugin,
		"GET Environment":   visit.environment,
		"GET Configuration": visit.configuration,
		"GET Callstack":     visit.callstack,
		"GET SubSystems":    visit.subsystems,
		"GET Version":       visit.version,
		"GET Discovery":     visit.discovery,

		"PUT Activate":      lifecycle("activate", "activated"),
		"PUT Deactivate":    lifecycle("deactivate", "deactivated"),
		"PUT Unavailable":   lifecycle("unavailable", "made unavailable"),
		"PUT Suspend":       lifecycle("suspend", "suspended"),
		"PUT Resume":        lifecycle("resume", "resumed"),
		"PUT Hibernate":     lifecycle("hibernate", "hibernated"),
		"PUT Configuration": visit.configure,
		"PUT Persist":       visit.persist,
		"PUT Discovery":     visit.discover,
		"PUT Harakiri":      visit.reboot,

		"DELETE Persistent": visit.remove,
	}
}

// object is a JSON object that is put together here.
type object map[string]any

func list(member, method string) resource {
	return func(v visit) (any, error) {
		elements, err := v.call(method, "", nil)
		return object{member: elements}, err
	}
}

func (v visit) overview() (any, error) {
	plugins, err := v.call("status", "", nil)
	if err != nil {
		return nil, err
	}
	links, err := v.call("links", "", nil)
	if err != nil {
		return nil, err
	}
	threads, err := v.call("threads", "", nil)
	return object{"plugins": plugins, "channel": links, "server": object{"threads": threads}}, err
}

func (v visit) process() (any, error) {
	threads, err := v.call("threads", "", nil)
	return object{"server": object{"threads": threads}}, err
}

// plugin is one record, also where the method returns an array of one.
func (v visit) plugin() (any, error) {
	if err := v.names("a callsign"); err != nil {
		return nil, err
	}
	found, err := v.call("status", v.argument, nil)
	if err != nil {
		return nil, v.unknown(err)
	}
	return json.RawMessage(bytes.TrimSuffix(bytes.TrimPrefix(found, []byte("[")), []byte("]"))), nil
}

func (v visit) environment() (any, error) {
	if err := v.names("a variable"); err != nil {
		return nil, err
	}
	value, err := v.call("environment", v.argument, nil)
	if err != nil && thunder.ErrorOf(err).Number == thunder.UnknownKey {
		return nil, &refusal{http.StatusNoContent, "Environment variable does not exist"}
	}
	return object{"value": value}, err
}

func (v visit) configuration() (any, error) {
	if err := v.names("a callsign"); err != nil {
		return nil, err
	}
	result, err := v.call("configuration", v.argument, nil)
	return result, v.unknown(err)
}

func (v visit) callstack() (any, error) {
	if v.argument == "" {
		return nil, &refusal{http.StatusBadRequest, "Please supply an index for the callstack you need!"}
	}
	return v.call("callstack", v.argument, nil)
}

func (v visit) subsystems() (any, error) {
	active := make(map[string]bool)
	for _, s := range v.front.supervisor.Subsystems() {
		active[s.Name] = s.Active
	}
	return object{"subsystems": active}, nil
}

func (v visit) version() (any, error) { return v.call("version", "", nil) }

func (v visit) discovery() (any, error) {
	found, err := v.call("discoveryresults", "", nil)
	return object{"bridges": found}, unlessOffered(err)
}

func (v visit) discover() (any, error) {
	var params json.RawMessage
	if ttl := v.request.URL.Query().Get("TTL"); ttl != "" {
		n, err := strconv.Atoi(ttl)
		if err != nil {
			return nil, &refusal{http.StatusBadRequest, "TTL must be a number"}
		}
		params = jsonrpc.MustMarshal(object{"ttl": n})
	}
	_, err := v.call("startdiscovery", "", params)
	return nil, unlessOffered(err)
}

// unlessOffered says in Thunder's words that the host does not search the
// network.
func unlessOffered(err error) error {
	if err != nil && thunder.ErrorOf(err).Number == thunder.NotSupported {
		return &refusal{http.StatusBadRequest, "Probe functionality not enabled!"}
	}
	return err
}

// lifecycle is the row of a verb. What is already so is no error, what must not
// be is 409, where Thunder says 200 and does nothing.
func lifecycle(method, done string) resource {
	return func(v visit) (any, error) {
		switch v.argument {
		case "":
			return nil, v.names("a callsign")
		case configs.ControllerCallsign:
			return nil, &refusal{http.StatusForbidden, "The PluginHost Controller can not be " + done + "."}
		}
		params := object{"callsign": v.argument}
		if timeout := v.request.URL.Query().Get("timeout"); timeout != "" {
			params["timeout"] = timeout
		}
		_, err := v.call(method, "", jsonrpc.MustMarshal(params))
		return nil, v.unknown(err)
	}
}

func (v visit) configure() (any, error) {
	if v.argument == "" || len(v.body) == 0 {
		return nil, &refusal{http.StatusBadRequest, "Not sufficent data to comply to the request"} //nolint:misspell // as Thunder spells it
	}
	if !json.Valid(v.body) {
		return nil, &refusal{http.StatusBadRequest, "Could not update the config. Error: the body is not JSON"}
	}
	_, err := v.call("configuration", v.argument, v.body)
	if err = v.unknown(err); err == nil {
		return nil, nil
	}
	no := refusalOf(err)
	return nil, &refusal{no.status, "Could not update the config. Error: " + no.text}
}

func (v visit) persist() (any, error) {
	_, err := v.call("persist", "", nil)
	return sentence("Current configuration stored"), err
}

func (v visit) reboot() (any, error) {
	_, err := v.call("reboot", "", nil)
	return nil, err
}

func (v visit) remove() (any, error) {
	_, err := v.call("delete", "", jsonrpc.MustMarshal(object{"path": v.argument}))
	if err != nil && thunder.ErrorOf(err).Number == thunder.PrivilegedRequest {
		return nil, &refusal{http.StatusBadRequest, "incorrect path"}
	}
	return nil, err
}

// names refuses a path that ends too early.
func (v visit) names(what string) error {
	if v.argument != "" {
		return nil
	}
	return &refusal{http.StatusBadRequest, "the path must end with " + what}
}

// unknown says in Thunder's words that there is no such instance.
func (v visit) unknown(err error) error {
	if err != nil && thunder.ErrorOf(err).Number == thunder.UnknownKey {
		return &refusal{http.StatusNotFound, "There is no callsign: " + v.argument}
	}
	return err
}
