package controller

import (
	"context"
	"strings"

	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/supervisor"
)

// typeMethods returns the methods find and open, by which clients find the instances that
// provide an interface. Thunder has neither of them.
func typeMethods() []method {
	wanted := []parameter{
		{name: "type", optional: true, doc: "the name of the type, such as \"minimizer\"; without one the tags alone count"},
		{name: "tags", optional: true, doc: "tags that the instance must have or, after \"!\", must not have, with spaces between them: \"fast !beta\""},
		{name: "range", optional: true, doc: "versions of the type, such as \"^1.2\"; any without it"},
	}
	return []method{{
		name: "find", access: access.Read, form: action, params: wanted, about: func(request) []string { return []string{""} },
		result: []providerRecord{}, returns: "the instances that provide it, those first that deliver calls, then those with the highest version",
		doc:    "Finds the instances that provide a type. Nothing is woken.",
		errors: []thunder.ErrorNumber{thunder.InvalidParameter},
		serve:  serveFind,
	}, {
		name: "open", access: access.Read, form: action, missingParam: thunder.InvalidParameter,
		params: append([]parameter{{name: "callsign", doc: "the callsign of the instance"}}, wanted...),
		result: providerRecord{}, returns: "what the instance provides",
		doc:    "Says what an instance provides. With a type, tags or a range it is an error if that is something else. Nothing is woken.",
		errors: []thunder.ErrorNumber{thunder.InvalidParameter, thunder.UnknownKey, thunder.NotSupported},
		serve:  serveOpen,
	}, {
		name: "unmet", access: access.Read, form: property, index: "the callsign, or nothing for all instances", about: indexedInstance,
		result: []unmetRecord{}, returns: "what instances use and none provides, or several do while the configuration names none of them",
		doc:    "What is missing or ambiguous among what instances use of others.",
		errors: []thunder.ErrorNumber{thunder.UnknownKey},
		serve:  serveUnmet,
	}}
}

// unmetRecord says what is missing or ambiguous, as clients see it.
type unmetRecord struct {
	Callsign string    `json:"callsign"`
	Use      shell.Use `json:"use"`
	// Candidates are the callsigns of those that provide it, of which there are none or several.
	Candidates []string `json:"candidates"`
	Text       string   `json:"text"`
}

// serveUnmet answers with the unmet uses of the instance that the index names, or of all.
func serveUnmet(_ context.Context, r request) (any, error) {
	s := r.front.supervisor
	var only []string
	if r.index != "" {
		only = []string{r.index}
		if _, ok := s.Shell(r.index); !ok {
			return nil, thunder.NewError(thunder.UnknownKey, s.WhyMissing(r.index))
		}
	}
	records := []unmetRecord{}
	for _, u := range s.UnmetUses(only...) {
		records = append(records, unmetRecord{u.Callsign, u.Use, append([]string{}, u.Candidates...), u.String()})
	}
	return records, nil
}

// providerRecord is an instance that others may use, as clients see it.
type providerRecord struct {
	Callsign string `json:"callsign"`
	State    string `json:"state"`
	// Delivers reports whether a call that comes now is delivered.
	Delivers bool `json:"delivers"`
	// Type is the one that was looked for.
	Type    *shell.Type   `json:"type,omitempty"`
	Profile shell.Profile `json:"profile"`
}

// newProviderRecord returns the record of a provider.
func newProviderRecord(p supervisor.Provider) providerRecord {
	record := providerRecord{Callsign: p.Callsign, State: string(p.State), Delivers: p.Delivers, Profile: p.Profile}
	if p.Type.Name != "" {
		record.Type = &p.Type
	}
	return record
}

// use returns what a request looks for.
func (a arguments) use() shell.Use {
	return shell.Use{Type: a["type"], Tags: strings.Fields(a["tags"]), Range: a["range"]}
}

// serveFind answers with the instances that provide what is looked for.
func serveFind(_ context.Context, r request) (any, error) {
	found, err := r.front.supervisor.Find("", r.args.use())
	if err != nil {
		return nil, thunder.WithNumber(err)
	}
	records := []providerRecord{}
	for _, p := range found {
		records = append(records, newProviderRecord(p))
	}
	return records, nil
}

// serveOpen answers with what the named instance provides.
func serveOpen(_ context.Context, r request) (any, error) {
	p, err := r.front.supervisor.Open(r.args["callsign"], r.args.use())
	if err != nil {
		return nil, thunder.WithNumber(err)
	}
	return newProviderRecord(p), nil
}
