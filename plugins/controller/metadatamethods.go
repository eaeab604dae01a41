package controller

import (
	"context"
	"errors"
	"math/bits"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/supervisor"
)

// metadataMethods returns the methods that only describe the host, its instances and
// its connections.
func metadataMethods() []method {
	return []method{
		{
			name: "services", access: access.Read, aliases: []string{"status"}, form: property, index: "the instance", about: indexedInstance,
			result: []dialect.Record{}, returns: "a record of each instance, sorted by callsign; of one alone also its history; without configuration, paths and failures for callers below operate",
			doc:    "The instances and their states.",
			errors: []thunder.ErrorNumber{thunder.UnknownKey},
			serve:  serveStatus,
		},
		{
			name: "subsystems", access: access.Read, form: property,
			result: []supervisor.Subsystem{}, returns: "all subsystems, Thunder's fifteen in its order first",
			doc:   "The named conditions of the platform.",
			serve: serveSubsystems,
		},
		{
			name: "framework", access: access.Read, aliases: []string{"version"}, form: property,
			result: dialect.Version{}, returns: "the version; hash is the commit that it was built from",
			doc:   "The version of the host.",
			serve: serveVersion,
		},
		{
			name: "buildinfo", access: access.Read, form: property,
			result: buildRecord{}, returns: "how it was built; times are in milliseconds",
			doc:   "How the host was built and what it can do.",
			serve: serveBuildInfo,
		},
		{
			name: "environment", access: access.Read, form: property, index: "the variable",
			result: "", returns: "its value, empty for callers below operate",
			doc:    "A variable of the host's environment, if the configuration lists it.",
			errors: []thunder.ErrorNumber{thunder.BadRequest, thunder.UnknownKey},
			serve:  serveEnvironment,
		},
		{
			name: "links", access: access.Read, form: property,
			result: []connectionRecord{}, returns: "the connections, oldest first; their addresses only for callers from operate on",
			doc:   "The connections over HTTP and websockets.",
			serve: serveLinks,
		},
		{
			name: "proxies", access: access.Read, form: property, index: "the name of a link",
			result: []Proxy{}, returns: "the interfaces; their origin only without an index, for callers from operate on",
			doc:    "The interfaces of plugins that native clients use.",
			errors: []thunder.ErrorNumber{thunder.UnknownKey},
			serve:  serveProxies,
		},
	}
}

// serveSubsystems answers with all subsystems and whether they are up.
func serveSubsystems(_ context.Context, r request) (any, error) {
	return append([]supervisor.Subsystem{}, r.front.supervisor.Subsystems()...), nil
}

// serveVersion answers with the version of the host.
func serveVersion(_ context.Context, r request) (any, error) {
	return dialect.Version{Hash: r.front.options.Version, Version: thunder.ParseVersionOrZero(r.front.options.Version)}, nil
}

// buildRecord is how the host was built, in Thunder's terms. Thunder's features that
// a Go program does not have are false.
type buildRecord struct {
	SystemType        string   `json:"systemtype"`
	BuildType         string   `json:"buildtype"`
	Extensions        []string `json:"extensions,omitempty"`
	Messaging         bool     `json:"messaging"`
	ExceptionCatching bool     `json:"exceptioncatching"`
	DeadlockDetection bool     `json:"deadlockdetection"`
	WideCharacters    bool     `json:"wcharsupport"`
	InstanceIDBits    int      `json:"instanceidbits"`
	ThreadPoolCount   int      `json:"threadpoolcount"`
	CallTimeout       int64    `json:"comrpctimeout"`
}

// serveBuildInfo answers with how the host was built and whether it can hibernate.
func serveBuildInfo(_ context.Context, r request) (any, error) {
	b := buildRecord{
		SystemType:        "Linux",
		BuildType:         buildType(),
		ExceptionCatching: true, // a call that panics is answered
		InstanceIDBits:    bits.UintSize,
		ThreadPoolCount:   runtime.GOMAXPROCS(0),
		CallTimeout:       time.Duration(configs.DefaultPlugin().CallTimeout).Milliseconds(),
	}
	if r.front.options.CanHibernate != nil && r.front.options.CanHibernate() {
		b.Extensions = append(b.Extensions, "Hibernate")
	}
	return b, nil
}

// buildType returns Debug for a build without optimization or with the race
// detector, else Release.
func buildType() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return "Release"
	}
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" || s.Key == "-gcflags" && strings.Contains(s.Value, "-N") {
			return "Debug"
		}
	}
	return "Release"
}

// serveEnvironment answers with the variable of the host's environment that the index
// names, if the configuration lists it.
func serveEnvironment(_ context.Context, r request) (any, error) {
	if r.index == "" {
		return nil, thunder.NewError(thunder.BadRequest, errors.New("name the variable, as in environment@HOME"))
	}
	value, set := os.LookupEnv(r.index)
	if !set || !slices.Contains(r.front.options.Host.Environment, r.index) {
		return nil, thunder.NewError(thunder.UnknownKey, nil)
	}
	if !r.seesDetailsOf("") {
		return "", nil
	}
	return value, nil
}

// Proxy is an interface of a plugin that a native client uses.
type Proxy struct {
	Interface string `json:"interface"`
	Name      string `json:"name"`
	Instance  string `json:"instance"`
	Count     int    `json:"count"` // calls that are under way
	// Client is the process and the user of the client, then "@" and Link.
	Client string `json:"origin,omitempty"`
	// Link is the name of the client's connection.
	Link string `json:"-"`
}

// serveLinks answers with the open connections of clients, oldest first.
func serveLinks(_ context.Context, r request) (any, error) {
	all := r.front.connections.records(r.front.limits.pingEvery)
	if !r.seesDetailsOf("") {
		for i := range all {
			all[i].Remote = ""
		}
	}
	return all, nil
}

// serveProxies answers with all proxies, or with those of the connection that the index
// names, without their clients.
func serveProxies(_ context.Context, r request) (any, error) {
	all := []Proxy{}
	if r.front.options.Proxies != nil {
		all = append(all, r.front.options.Proxies()...)
	}
	if r.index != "" {
		all = slices.DeleteFunc(all, func(p Proxy) bool { return p.Link != r.index })
		if len(all) == 0 {
			return nil, thunder.NewError(thunder.UnknownKey, nil)
		}
	}
	if r.index != "" || !r.seesDetailsOf("") {
		for i := range all {
			all[i].Client = ""
		}
	}
	return all, nil
}
