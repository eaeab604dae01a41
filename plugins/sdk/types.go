package sdk

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc"

	"dormouse/shell/shellpb"
)

// Profile is what others find a plugin by, and what it uses of others. All of it is optional.
type Profile struct {
	// Title is for people; if it is empty, Name stands for it.
	Title string
	// Name and Version, a semantic one such as "1.4.0", are those under which others know the
	// plugin; if they are empty, those of Information.
	Name, Version string
	Description   string
	// Tags are words without spaces.
	Tags     []string
	Provides []Type
	Uses     []Use
	// Entry is where others start work of the plugin; nil if they can't.
	Entry *EntryPoint
	Links []Link
}

// Type is an interface that a plugin provides: a gRPC service that it registers, or methods. The
// known ones are listed in docs/plugin-types.md.
type Type struct {
	Name string
	// Version is a semantic version; empty counts as "0.0.0".
	Version string
	// Service is the full name of a gRPC service; empty for methods.
	Service string
	Methods []TypeMethod
}

// TypeMethod is a method of a type. The host refuses calls of it whose parameters don't fit the
// schema, with InvalidParameter and the path of the wrong member.
type TypeMethod struct {
	Name string
	// Params and Result are JSON Schemas, nil for anything. The host does not check results.
	Params, Result json.RawMessage
}

// Use is an interface of others that a plugin uses.
type Use struct {
	// Type is the name of the type; empty for any.
	Type string
	// Tags are those that a provider must have or, with "!" before them, must not have.
	Tags []string
	// Range is a range of versions of the type, such as "^1.2"; empty for any.
	Range string
	// Parameter is the member of the configuration that names the provider, if there is one.
	Parameter string
	// Required reports whether the plugin can't work without.
	Required bool
}

// EntryKind is what kind of work a plugin does.
type EntryKind string

// The kinds of work.
const (
	Processing    EntryKind = "processing"
	Visualization EntryKind = "visualization"
	Conversion    EntryKind = "conversion"
	Dataloader    EntryKind = "dataloader"
	Interaction   EntryKind = "interaction"
)

// EntryPoint is where others start work of a plugin.
type EntryPoint struct {
	// Kind is Processing if it is empty.
	Kind EntryKind
	// Schema is a JSON Schema of the parameters, an object; nil for any. Data inputs are
	// addresses.
	Schema json.RawMessage
	// UI is the path of a page for people, below the plugin's Web; empty for none.
	UI                      string
	DataInputs, DataOutputs []Data
}

// Data is data that work takes or gives.
type Data struct {
	// Name is the parameter of an input, or the name of an output.
	Name string
	// DataType is such as "entity/list" or "*".
	DataType     string
	ContentTypes []string
	Required     bool
}

// Link is an address of a plugin, absolute or below its Web. Types are unique.
type Link struct{ Type, Href string }

// Provider is an instance that others may use.
type Provider struct {
	Callsign string
	State    State
	// Delivers reports whether a call that comes now is delivered, at once or when the
	// instance has been started or woken.
	Delivers bool
	// Type is the one that was looked for; zero if none was.
	Type    Type
	Profile Profile

	host *Host
}

// Find returns the instances that provide what u looks for by type, tags and range, except for
// the plugin's own: those first that deliver calls, then those with the highest version. It wakes
// nothing. The error wraps an *Error with InvalidParameter if u is not valid.
func (h *Host) Find(ctx context.Context, u Use) ([]Provider, error) {
	answer, err := h.typesClient().Find(ctx, &shellpb.FindRequest{Use: u.toWire()})
	if err != nil {
		return nil, errorFromHost(ctx, "find "+u.Type, err)
	}
	var found []Provider
	for _, p := range answer.GetProviders() {
		found = append(found, h.providerFromWire(p))
	}
	return found, nil
}

// Open returns the instance of that callsign, to call it. It wakes nothing. The error wraps an
// *Error with UnknownKey if there is none.
func (h *Host) Open(ctx context.Context, callsign string) (Provider, error) {
	answer, err := h.typesClient().Open(ctx, &shellpb.OpenRequest{Callsign: callsign})
	if err != nil {
		return Provider{}, errorFromHost(ctx, "open "+callsign, err)
	}
	return h.providerFromWire(answer.GetProvider()), nil
}

// Invoke calls a method of the provider, see Host.Invoke.
func (p Provider) Invoke(ctx context.Context, method string, params, result any) error {
	return p.host.Invoke(ctx, p.Callsign, method, params, result)
}

// Conn returns a connection for the generated clients of the provider's gRPC services, see
// Host.Conn.
func (p Provider) Conn() grpc.ClientConnInterface { return p.host.Conn(p.Callsign) }

// typesClient returns a client of the host's Types service.
func (h *Host) typesClient() shellpb.TypesClient { return shellpb.NewTypesClient(h.connOrFailing()) }

// providerFromWire returns the provider that a message of the host describes.
func (h *Host) providerFromWire(m *shellpb.Provider) Provider {
	p := Provider{
		Callsign: m.GetCallsign(), State: State(m.GetState().Words()), Delivers: m.GetDelivers(),
		Profile: profileFromWire(m.GetProfile()), host: h,
	}
	if m.GetType() != nil {
		p.Type = typeFromWire(m.GetType())
	}
	return p
}

// toWire returns the use as a message.
func (u Use) toWire() *shellpb.Use {
	return &shellpb.Use{Type: u.Type, Tags: u.Tags, Range: u.Range, Parameter: u.Parameter, Required: u.Required}
}

// toWireOrNil returns the profile as a message, nil if it says nothing.
func (p Profile) toWireOrNil() *shellpb.Profile {
	m := &shellpb.Profile{Title: p.Title, Name: p.Name, Version: p.Version, Description: p.Description, Tags: p.Tags}
	says := p.Title+p.Name+p.Version+p.Description != "" || len(p.Tags)+len(p.Provides)+len(p.Uses)+len(p.Links) > 0 || p.Entry != nil
	if !says {
		return nil
	}
	for _, t := range p.Provides {
		provided := &shellpb.Type{Name: t.Name, Version: t.Version, Service: t.Service}
		for _, method := range t.Methods {
			provided.Methods = append(provided.Methods, &shellpb.Method{Name: method.Name, Params: method.Params, Result: method.Result})
		}
		m.Provides = append(m.Provides, provided)
	}
	for _, u := range p.Uses {
		m.Uses = append(m.Uses, u.toWire())
	}
	if e := p.Entry; e != nil {
		m.Entry = &shellpb.EntryPoint{
			Kind: shellpb.EntryKindOf(string(e.Kind)), Schema: e.Schema, Ui: e.UI,
			DataInputs: dataToWire(e.DataInputs), DataOutputs: dataToWire(e.DataOutputs),
		}
	}
	for _, l := range p.Links {
		m.Links = append(m.Links, &shellpb.Link{Type: l.Type, Href: l.Href})
	}
	return m
}

// profileFromWire returns the profile in a message.
func profileFromWire(m *shellpb.Profile) Profile {
	p := Profile{Title: m.GetTitle(), Name: m.GetName(), Version: m.GetVersion(), Description: m.GetDescription(), Tags: m.GetTags()}
	for _, t := range m.GetProvides() {
		p.Provides = append(p.Provides, typeFromWire(t))
	}
	for _, u := range m.GetUses() {
		p.Uses = append(p.Uses, Use{Type: u.GetType(), Tags: u.GetTags(), Range: u.GetRange(), Parameter: u.GetParameter(), Required: u.GetRequired()})
	}
	if e := m.GetEntry(); e != nil {
		p.Entry = &EntryPoint{
			Kind: EntryKind(e.GetKind().Words()), Schema: e.GetSchema(), UI: e.GetUi(),
			DataInputs: dataFromWire(e.GetDataInputs()), DataOutputs: dataFromWire(e.GetDataOutputs()),
		}
	}
	for _, l := range m.GetLinks() {
		p.Links = append(p.Links, Link{Type: l.GetType(), Href: l.GetHref()})
	}
	return p
}

// typeFromWire returns the type in a message.
func typeFromWire(m *shellpb.Type) Type {
	t := Type{Name: m.GetName(), Version: m.GetVersion(), Service: m.GetService()}
	for _, method := range m.GetMethods() {
		t.Methods = append(t.Methods, TypeMethod{Name: method.GetName(), Params: method.GetParams(), Result: method.GetResult()})
	}
	return t
}

// dataToWire returns data as messages.
func dataToWire(all []Data) (messages []*shellpb.Data) {
	for _, d := range all {
		messages = append(messages, &shellpb.Data{Name: d.Name, DataType: d.DataType, ContentTypes: d.ContentTypes, Required: d.Required})
	}
	return messages
}

// dataFromWire returns the data in messages.
func dataFromWire(all []*shellpb.Data) (data []Data) {
	for _, d := range all {
		data = append(data, Data{Name: d.GetName(), DataType: d.GetDataType(), ContentTypes: d.GetContentTypes(), Required: d.GetRequired()})
	}
	return data
}
