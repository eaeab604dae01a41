// Package forms has plain HTML forms for the values that a JSON Schema describes: the page, and
// the values in what a browser or a program sends. It does not know what the values are for, nor
// where a form is sent.
package forms

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"dormouse/internal/schema"
)

// Schema describes an object of values.
type Schema struct {
	root  *jsonschema.Schema
	check *schema.Schema
	names []string // of the properties, in the order of the text
}

// Parse returns the schema in the text, a JSON Schema of an object; for an empty text one that takes
// any. Each of inputs without a property of its own becomes one that takes a URL.
func Parse(text json.RawMessage, inputs ...Input) (*Schema, error) {
	s := &Schema{root: &jsonschema.Schema{}}
	if len(bytes.TrimSpace(text)) > 0 {
		if err := json.Unmarshal(text, s.root); err != nil {
			return nil, fmt.Errorf("cannot read the schema: %w", err)
		}
		s.names = namesInOrder(text)
	}
	for _, input := range inputs {
		s.addInput(input)
	}
	var err error
	if s.check, err = compiled(s.root); err != nil {
		return nil, fmt.Errorf("cannot use the schema: %w", err)
	}
	return s, nil
}

// compiled returns the schema for checks.
func compiled(s *jsonschema.Schema) (*schema.Schema, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return schema.Compile(text)
}

// Input is a parameter that is the address of data.
type Input struct {
	Name     string
	Title    string
	Required bool
}

// addInput adds an input to the properties, unless there is a property of its name.
func (s *Schema) addInput(input Input) {
	if _, ok := s.root.Properties[input.Name]; !ok {
		if s.root.Properties == nil {
			s.root.Properties = make(map[string]*jsonschema.Schema)
		}
		s.root.Properties[input.Name] = &jsonschema.Schema{Type: "string", Format: "uri", Title: input.Title}
		s.names = append(s.names, input.Name)
	}
	if input.Required && !slices.Contains(s.root.Required, input.Name) {
		s.root.Required = append(s.root.Required, input.Name)
	}
}

// namesInOrder returns the names of the properties in a schema's text, which is valid JSON, in
// their order.
func namesInOrder(text json.RawMessage) (names []string) {
	var schema struct {
		Properties json.RawMessage `json:"properties"`
	}
	if json.Unmarshal(text, &schema) != nil || len(schema.Properties) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(schema.Properties))
	if _, err := d.Token(); err != nil {
		return nil
	}
	for d.More() {
		name, err := d.Token()
		var skipped json.RawMessage
		if err != nil || d.Decode(&skipped) != nil {
			return names
		}
		if text, ok := name.(string); ok && !slices.Contains(names, text) {
			names = append(names, text)
		}
	}
	return names
}

// property returns the schema of the property of that name, following one reference; an empty one
// if there is none.
func (s *Schema) property(name string) *jsonschema.Schema {
	p := s.root.Properties[name]
	if p == nil {
		return &jsonschema.Schema{}
	}
	for prefix, defs := range map[string]map[string]*jsonschema.Schema{"#/$defs/": s.root.Defs, "#/definitions/": s.root.Definitions} {
		if def, ok := strings.CutPrefix(p.Ref, prefix); ok && defs[def] != nil {
			return defs[def]
		}
	}
	return p
}

// isRequired reports whether the property must be there.
func (s *Schema) isRequired(name string) bool { return slices.Contains(s.root.Required, name) }

// typeOf returns the one type that values of the schema have besides null, empty for several.
func typeOf(p *jsonschema.Schema) string {
	types := slices.DeleteFunc(slices.Clone(p.Types), func(t string) bool { return t == "null" })
	if p.Type == "" && len(types) == 1 {
		return types[0]
	}
	return p.Type
}
