package shell

import (
	"encoding/json"

	"dormouse/shell/shellpb"
)

// Profile is what others find an instance by, and what it looks for itself. The zero value
// is that of a plugin that says nothing of the kind.
type Profile struct {
	// Title is for people; if it is empty, Name stands for it.
	Title string `json:"title,omitempty"`
	// Name and Version are those under which others know the plugin; empty: its program's.
	Name        string      `json:"name,omitempty"`
	Version     string      `json:"version,omitempty"` // a semantic version
	Description string      `json:"description,omitempty"`
	Tags        []string    `json:"tags,omitempty"`
	Provides    []Type      `json:"provides,omitempty"`
	Uses        []Use       `json:"uses,omitempty"`
	Entry       *EntryPoint `json:"entry,omitempty"` // nil: others can't start work of the plugin
	Links       []Link      `json:"links,omitempty"`
}

// Type is an interface that a plugin provides: a gRPC service, or methods.
type Type struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // a semantic version; empty counts as 0.0.0
	// Service is the full name of a gRPC service; empty for methods.
	Service string       `json:"service,omitempty"`
	Methods []TypeMethod `json:"methods,omitempty"`
}

// TypeMethod is a method that a type declares. Each schema is a JSON Schema, nil for
// anything.
type TypeMethod struct {
	Name   string          `json:"name"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// Use is an interface of others that a plugin uses.
type Use struct {
	Type string `json:"type,omitempty"` // empty for any
	// Tags are those that a provider must have or, with "!" before them, must not have.
	Tags []string `json:"tags,omitempty"`
	// Range is a range of the type's versions, such as ">=1.2 <2"; empty for any.
	Range string `json:"range,omitempty"`
	// Parameter is the member of the configuration, or the parameter, that names the
	// provider; it may be empty.
	Parameter string `json:"parameter,omitempty"`
	Required  bool   `json:"required,omitempty"`
}

// EntryKind is what kind of work a plugin does.
type EntryKind string

// The kinds of work. The words are QHAna's.
const (
	Processing    EntryKind = "processing"
	Visualization EntryKind = "visualization"
	Conversion    EntryKind = "conversion"
	Dataloader    EntryKind = "dataloader"
	Interaction   EntryKind = "interaction"
)

// EntryPoint is where others start work of a plugin.
type EntryPoint struct {
	Kind EntryKind `json:"kind"`
	// Schema is a JSON Schema of the parameters, an object; nil for any parameters. Data
	// inputs are addresses.
	Schema json.RawMessage `json:"schema,omitempty"`
	// UI is the path of a page for people, below the plugin's Web; empty for none.
	UI          string `json:"ui,omitempty"`
	DataInputs  []Data `json:"dataInputs,omitempty"`
	DataOutputs []Data `json:"dataOutputs,omitempty"`
}

// Data is data that work takes or gives.
type Data struct {
	Name         string   `json:"name"`               // the parameter of an input, or the output's name
	DataType     string   `json:"dataType,omitempty"` // such as "entity/list" or "*"
	ContentTypes []string `json:"contentTypes,omitempty"`
	Required     bool     `json:"required,omitempty"`
}

// Link is an address of a plugin, absolute or a path below its Web. Type is unique among
// the plugin's links.
type Link struct {
	Type string `json:"type"`
	Href string `json:"href"`
}

// IsZero reports whether the profile says nothing.
func (p Profile) IsZero() bool {
	return p.Title == "" && p.Name == "" && p.Version == "" && p.Description == "" && p.Entry == nil &&
		len(p.Tags)+len(p.Provides)+len(p.Uses)+len(p.Links) == 0
}

// ProfileFromProto returns the profile in a message, zero for nil.
func ProfileFromProto(m *shellpb.Profile) Profile {
	p := Profile{
		Title: m.GetTitle(), Name: m.GetName(), Version: m.GetVersion(), Description: m.GetDescription(), Tags: m.GetTags(),
	}
	for _, t := range m.GetProvides() {
		provided := Type{Name: t.GetName(), Version: t.GetVersion(), Service: t.GetService()}
		for _, method := range t.GetMethods() {
			provided.Methods = append(provided.Methods, TypeMethod{Name: method.GetName(), Params: method.GetParams(), Result: method.GetResult()})
		}
		p.Provides = append(p.Provides, provided)
	}
	for _, u := range m.GetUses() {
		p.Uses = append(p.Uses, UseFromProto(u))
	}
	if e := m.GetEntry(); e != nil {
		p.Entry = &EntryPoint{
			Kind: EntryKind(e.GetKind().Words()), Schema: e.GetSchema(), UI: e.GetUi(),
			DataInputs: dataFromProto(e.GetDataInputs()), DataOutputs: dataFromProto(e.GetDataOutputs()),
		}
	}
	for _, l := range m.GetLinks() {
		p.Links = append(p.Links, Link{Type: l.GetType(), Href: l.GetHref()})
	}
	return p
}

// UseFromProto returns the use in a message, zero for nil.
func UseFromProto(m *shellpb.Use) Use {
	return Use{Type: m.GetType(), Tags: m.GetTags(), Range: m.GetRange(), Parameter: m.GetParameter(), Required: m.GetRequired()}
}

// dataFromProto returns the data in messages.
func dataFromProto(all []*shellpb.Data) (data []Data) {
	for _, d := range all {
		data = append(data, Data{Name: d.GetName(), DataType: d.GetDataType(), ContentTypes: d.GetContentTypes(), Required: d.GetRequired()})
	}
	return data
}

// Proto returns the profile as a message, nil if it says nothing.
func (p Profile) Proto() *shellpb.Profile {
	if p.IsZero() {
		return nil
	}
	m := &shellpb.Profile{Title: p.Title, Name: p.Name, Version: p.Version, Description: p.Description, Tags: p.Tags}
	for _, t := range p.Provides {
		provided := &shellpb.Type{Name: t.Name, Version: t.Version, Service: t.Service}
		for _, method := range t.Methods {
			provided.Methods = append(provided.Methods, &shellpb.Method{Name: method.Name, Params: method.Params, Result: method.Result})
		}
		m.Provides = append(m.Provides, provided)
	}
	for _, u := range p.Uses {
		m.Uses = append(m.Uses, &shellpb.Use{Type: u.Type, Tags: u.Tags, Range: u.Range, Parameter: u.Parameter, Required: u.Required})
	}
	if e := p.Entry; e != nil {
		m.Entry = &shellpb.EntryPoint{
			Kind: shellpb.EntryKindOf(string(e.Kind)), Schema: e.Schema, Ui: e.UI,
			DataInputs: dataMessages(e.DataInputs), DataOutputs: dataMessages(e.DataOutputs),
		}
	}
	for _, l := range p.Links {
		m.Links = append(m.Links, &shellpb.Link{Type: l.Type, Href: l.Href})
	}
	return m
}

// dataMessages returns data as messages.
func dataMessages(all []Data) (messages []*shellpb.Data) {
	for _, d := range all {
		messages = append(messages, &shellpb.Data{Name: d.Name, DataType: d.DataType, ContentTypes: d.ContentTypes, Required: d.Required})
	}
	return messages
}
