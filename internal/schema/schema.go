// Package schema checks JSON by JSON Schemas of the version 2020-12, and says which member is
// wrong. A schema refers to nothing but its own parts.
package schema

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema is a compiled JSON Schema. Its methods may be called from any goroutine.
type Schema struct {
	root     *jsonschema.Schema
	resolved *jsonschema.Resolved

	mu    sync.Mutex
	parts map[string]*jsonschema.Resolved // by their JSON pointer, of those that were needed
}

// draft is the version of JSON Schema that is known.
const draft = "https://json-schema.org/draft/2020-12/schema"

// Compile returns the schema that the text is. It must be JSON.
func Compile(text []byte) (*Schema, error) {
	if !json.Valid(text) {
		var value any
		return nil, fmt.Errorf("not valid JSON: %w", json.Unmarshal(text, &value))
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, plainError(err)
	}
	if s.Schema != "" && strings.TrimSuffix(s.Schema, "#") != draft {
		return nil, fmt.Errorf("its \"$schema\" is %v; only %s is known", s.Schema, draft)
	}
	if err := checkTypes(&s, ""); err != nil {
		return nil, err
	}
	resolved, err := s.Resolve(&jsonschema.ResolveOptions{Loader: loadNothing})
	if err != nil {
		return nil, plainError(err)
	}
	return &Schema{root: &s, resolved: resolved, parts: make(map[string]*jsonschema.Resolved)}, nil
}

// loadNothing loads no schema that another refers to.
func loadNothing(*url.URL) (*jsonschema.Schema, error) {
	return nil, errors.New("a schema may refer to itself only, nothing is loaded")
}

// Error says which member of a JSON value is not as its schema says.
type Error struct {
	// Path is the JSON pointer of the member, empty for the whole value.
	Path string
	// Why is what is wrong, such as "is missing".
	Why string
}

// Error returns the path and what is wrong.
func (e *Error) Error() string { return cmp.Or(e.Path, "the whole value") + " " + e.Why }

// Check returns an *Error if the value, which json.Unmarshal made, is not as the schema says.
func (s *Schema) Check(value any) error {
	err := s.resolved.Validate(value)
	if err == nil {
		return nil
	}
	path, why := s.locate(value, "", s.root, 0)
	return &Error{Path: path, Why: cmp.Or(why, plainError(err).Error())}
}

// CheckJSON is Check of a value as JSON; no bytes stand for null.
func (s *Schema) CheckJSON(text []byte) error {
	var value any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &value); err != nil {
			return &Error{Why: "is not JSON: " + err.Error()}
		}
	}
	return s.Check(value)
}

// types are the names of the types that JSON Schema knows.
var types = []string{"null", "boolean", "object", "array", "number", "string", "integer"}

// checkTypes returns an error if s, which stands at that JSON pointer, or a schema in it names a
// type that does not exist: the library would let no value pass, and not say why.
func checkTypes(s *jsonschema.Schema, at string) error {
	if s == nil {
		return nil
	}
	for _, name := range append(slices.Clone(s.Types), cmp.Or(s.Type, types[0])) {
		if !slices.Contains(types, name) {
			return fmt.Errorf("at %q: there is no type %q, only %s", at, name, strings.Join(types, ", "))
		}
	}
	var err error
	for keyword, one := range map[string]*jsonschema.Schema{
		"items": s.Items, "contains": s.Contains, "additionalProperties": s.AdditionalProperties, "propertyNames": s.PropertyNames,
		"unevaluatedItems": s.UnevaluatedItems, "unevaluatedProperties": s.UnevaluatedProperties,
		"not": s.Not, "if": s.If, "then": s.Then, "else": s.Else,
	} {
		err = errors.Join(err, checkTypes(one, at+"/"+keyword))
	}
	for keyword, list := range map[string][]*jsonschema.Schema{"prefixItems": s.PrefixItems, "allOf": s.AllOf, "anyOf": s.AnyOf, "oneOf": s.OneOf} {
		for i, one := range list {
			err = errors.Join(err, checkTypes(one, at+"/"+keyword+"/"+strconv.Itoa(i)))
		}
	}
	for keyword, named := range map[string]map[string]*jsonschema.Schema{
		"$defs": s.Defs, "properties": s.Properties, "patternProperties": s.PatternProperties, "dependentSchemas": s.DependentSchemas,
	} {
		for _, name := range slices.Sorted(maps.Keys(named)) {
			err = errors.Join(err, checkTypes(named[name], at+"/"+keyword+"/"+name))
		}
	}
	return err
}

// plainError returns the error of the library in one line, without the library's own words.
func plainError(err error) error {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	text = strings.NewReplacer("validating root: ", "", "jsonschema: ", "", "validating ", "at ", "/1 is ", " is ", ".000000", "").Replace(text)
	return errors.New(text)
}
