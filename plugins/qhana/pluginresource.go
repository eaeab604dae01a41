package qhana

import (
	"cmp"
	"net/http"
	"slices"

	"dormouse/shell"
)

// pluginRow is a plugin in the list resource. Callsign and Parent are ours, as an identifier.
type pluginRow struct {
	Name        string   `json:"name"`
	Version     string   `json:"version"`
	Identifier  string   `json:"identifier"`
	APIRoot     string   `json:"apiRoot"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
	Callsign    string   `json:"callsign"`
	Parent      string   `json:"parent,omitempty"`
}

// pluginResource is a plugin.
type pluginResource struct {
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Name        string     `json:"name"`
	Version     string     `json:"version"`
	Type        string     `json:"type"`
	Tags        []string   `json:"tags"`
	EntryPoint  entryPoint `json:"entryPoint"`
	Links       []link     `json:"links"`
}

// entryPoint is where work of a plugin is started.
type entryPoint struct {
	Href               string             `json:"href"`
	UIHref             string             `json:"uiHref"`
	PluginDependencies []pluginDependency `json:"pluginDependencies"`
	DataInput          []dataInput        `json:"dataInput"`
	DataOutput         []dataOutput       `json:"dataOutput"`
}

// pluginDependency is another plugin that a parameter names.
type pluginDependency struct {
	Parameter string   `json:"parameter"`
	Required  bool     `json:"required"`
	Tags      []string `json:"tags"`
	Type      string   `json:"type,omitempty"`
}

// dataInput is data that a parameter names.
type dataInput struct {
	Parameter   string   `json:"parameter"`
	DataType    string   `json:"dataType"`
	ContentType []string `json:"contentType"`
	Required    bool     `json:"required"`
}

// dataOutput is data that a task of the plugin leaves.
type dataOutput struct {
	Name        string   `json:"name"`
	DataType    string   `json:"dataType"`
	ContentType []string `json:"contentType"`
	Required    bool     `json:"required"`
}

// link is an end point of a plugin or a task.
type link struct {
	Type string `json:"type"`
	Href string `json:"href"`
}

// serveRoot answers with what lies below the seed path.
func (q *QHAna) serveRoot(w http.ResponseWriter, _ *http.Request) {
	respondJSON(w, http.StatusOK, map[string]any{
		"title": "Dormouse",
		"links": []link{{"plugins", address(q.base, "plugins")}},
	})
}

// serveList answers with the list of plugins.
func (q *QHAna) serveList(w http.ResponseWriter, _ *http.Request) {
	plugins := q.listing()
	rows := make([]pluginRow, 0, len(plugins))
	for _, p := range plugins {
		row := pluginRow{
			Name: p.name, Version: p.version, Identifier: p.identifier, APIRoot: q.pluginAddress(p.identifier),
			Description: p.description(), Tags: listOrEmpty(p.Profile.Tags), Callsign: p.Callsign,
		}
		if i := slices.IndexFunc(plugins, func(o listed) bool { return o.Callsign == p.Parent }); i >= 0 {
			row.Parent = plugins[i].identifier
		}
		rows = append(rows, row)
	}
	respondJSON(w, http.StatusOK, map[string]any{"plugins": rows})
}

// resourceOf returns the plugin as its resource shows it.
func (q *QHAna) resourceOf(p listed) pluginResource {
	entry := shell.EntryPoint{Kind: shell.Processing}
	if p.Profile.Entry != nil {
		entry = *p.Profile.Entry
	}
	r := pluginResource{
		Title: cmp.Or(p.Profile.Title, p.name), Description: p.description(), Name: p.name, Version: p.version,
		Type: string(cmp.Or(entry.Kind, shell.Processing)), Tags: listOrEmpty(p.Profile.Tags),
		EntryPoint: entryPoint{
			Href: q.pluginAddress(p.identifier, "process"), UIHref: q.pluginAddress(p.identifier, "ui"),
			PluginDependencies: dependenciesOf(p.Profile.Uses), DataInput: inputsOf(entry), DataOutput: outputsOf(entry),
		},
		Links: []link{},
	}
	for _, l := range p.Profile.Links {
		r.Links = append(r.Links, link{l.Type, q.webAddress(p.Callsign, l.Href)})
	}
	return r
}

// description returns what the plugin says of itself.
func (p listed) description() string { return cmp.Or(p.Profile.Description, p.Description) }

// dependenciesOf returns the plugins that parameters name.
func dependenciesOf(uses []shell.Use) []pluginDependency {
	all := []pluginDependency{}
	for _, u := range uses {
		if u.Parameter == "" {
			continue // the plugin finds it by itself
		}
		d := pluginDependency{Parameter: u.Parameter, Required: u.Required, Tags: listOrEmpty(u.Tags)}
		switch shell.EntryKind(u.Type) {
		case shell.Processing, shell.Visualization, shell.Conversion, shell.Dataloader, shell.Interaction:
			d.Type = u.Type
		}
		all = append(all, d)
	}
	return all
}

// inputsOf returns the data inputs of an entry point.
func inputsOf(e shell.EntryPoint) []dataInput {
	all := []dataInput{}
	for _, d := range e.DataInputs {
		all = append(all, dataInput{d.Name, cmp.Or(d.DataType, "*"), contentTypes(d), d.Required})
	}
	return all
}

// outputsOf returns the data outputs of an entry point.
func outputsOf(e shell.EntryPoint) []dataOutput {
	all := []dataOutput{}
	for _, d := range e.DataOutputs {
		all = append(all, dataOutput{d.Name, cmp.Or(d.DataType, "*"), contentTypes(d), d.Required})
	}
	return all
}

// contentTypes returns the content types of data, "*" for any.
func contentTypes(d shell.Data) []string {
	if len(d.ContentTypes) == 0 {
		return []string{"*"}
	}
	return d.ContentTypes
}

// listOrEmpty returns the list, which JSON shows as [] if it is nil.
func listOrEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
