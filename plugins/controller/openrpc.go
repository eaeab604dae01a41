package controller

import (
	"cmp"
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"dormouse/configs"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
)

// The parts of an OpenRPC 1.3 document that the table of methods fills.
type (
	openRPC struct {
		OpenRPC string          `json:"openrpc"`
		Info    openRPCInfo     `json:"info"`
		Methods []openRPCMethod `json:"methods"`
	}
	openRPCInfo struct {
		Title       string `json:"title"`
		Description string `json:"description"`
		Version     string `json:"version"`
	}
	openRPCMethod struct {
		Name           string         `json:"name"`
		Summary        string         `json:"summary"`
		Description    string         `json:"description,omitempty"`
		ParamStructure string         `json:"paramStructure"`
		Params         []openRPCValue `json:"params"`
		Result         openRPCValue   `json:"result"`
		Errors         []openRPCError `json:"errors,omitempty"`
	}
	openRPCValue struct {
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
		Required    bool   `json:"required,omitempty"`
		Schema      schema `json:"schema"`
	}
	openRPCError struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
)

// serveDiscover answers with the OpenRPC document of the methods that the host itself
// serves for the instance.
func serveDiscover(ctx context.Context, r request) (any, error) {
	callsign := r.shell.Callsign()
	table := commonMethods()
	if callsign == configs.ControllerCallsign {
		table = append(controllerMethods(), table...)
	}
	document := openRPC{
		OpenRPC: "1.3.2",
		Info: openRPCInfo{
			Title:       callsign,
			Description: "What the host serves under this callsign; the plugin's own methods are not listed. A name may be followed by @ and an index.",
			Version:     "1.0.0",
		},
	}
	for _, m := range table {
		if m.offeredFor != nil && !m.offeredFor(ctx, r) {
			continue
		}
		for _, name := range append([]string{m.name}, m.aliases...) {
			document.Methods = append(document.Methods, m.toOpenRPC(callsign+".1."+name, r.dialect()))
		}
	}
	return document, nil
}

// toOpenRPC returns the method under that name as a part of an OpenRPC document, in the
// dialect d.
func (m *method) toOpenRPC(name string, d dialect.Dialect) openRPCMethod {
	result := openRPCValue{Name: "result", Description: cmp.Or(m.returns, "nothing"), Schema: resultSchema(d, m.result)}
	o := openRPCMethod{
		Name: name, Summary: m.doc, ParamStructure: "by-name", Params: []openRPCValue{}, Result: result,
	}
	if m.index != "" {
		o.Description = "Index: " + m.index + "."
	}
	for _, p := range m.params {
		o.Params = append(o.Params, openRPCValue{p.name, p.doc, !p.optional, schema{"type": p.kind.String()}})
	}
	for _, n := range m.possibleErrorNumbers() {
		e := dialect.ErrorForNumber(d, n)
		o.Errors = append(o.Errors, openRPCError{e.Code, e.Message})
	}
	return o
}

// possibleErrorNumbers returns the numbers of the errors that the table names for the method,
// and of those for wrong parameters.
func (m *method) possibleErrorNumbers() []thunder.ErrorNumber {
	all := slices.Clone(m.errors)
	for _, n := range []thunder.ErrorNumber{m.missingParam, thunder.ParseFailure} {
		if len(m.params) > 0 && n != 0 && !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}

// schema is a JSON schema.
type schema map[string]any

// resultSchema returns the schema of a method's result in the dialect d. result is the
// sample in the table of methods.
func resultSchema(d dialect.Dialect, result any) schema {
	switch result.(type) {
	case nil:
		return schema{"type": "null"}
	case acknowledgement:
		return resultSchema(d, d.RegisterResult())
	case []dialect.Record:
		return schema{"type": "array", "items": resultSchema(d, d.StatusInList(dialect.Record{}))}
	}
	return schemaOfType(reflect.TypeOf(result))
}

// schemaOfType returns the JSON schema of a Go type as encoding/json writes it. It
// knows only the types that occur in the methods' results.
func schemaOfType(t reflect.Type) schema {
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return schema{} // any JSON
	case t.Kind() == reflect.Pointer:
		return schemaOfType(t.Elem())
	case t.Kind() == reflect.Slice:
		return schema{"type": "array", "items": schemaOfType(t.Elem())}
	case t.Kind() == reflect.String:
		return schema{"type": "string"}
	case t.Kind() == reflect.Bool:
		return schema{"type": "boolean"}
	case t.Kind() != reflect.Struct:
		return schema{"type": "integer"}
	}
	properties, required := schema{}, []string{}
	for _, field := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous || name == "-" {
			continue
		}
		properties[name] = schemaOfType(field.Type)
		if !strings.Contains(options, "omitempty") {
			required = append(required, name)
		}
	}
	return schema{"type": "object", "properties": properties, "required": required}
}
