package manifest

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

	"github.com/google/jsonschema-go/jsonschema"

	"dormouse/configs"
)

// schema is the resolved JSON Schema of the instances' configuration.
type schema struct{ resolved *jsonschema.Resolved }

// draft is the version of JSON Schema that packages use.
const draft = "https://json-schema.org/draft/2020-12/schema"

// parseSchema returns the schema that the text is, of the version 2020-12.
func parseSchema(text []byte) (*schema, error) {
	if !json.Valid(text) {
		var value any
		return nil, fmt.Errorf("not valid JSON: %w", json.Unmarshal(text, &value))
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, schemaError(err)
	}
	if s.Schema != "" && strings.TrimSuffix(s.Schema, "#") != draft {
		return nil, fmt.Errorf("its \"$schema\" is %v; only %s is known", s.Schema, draft)
	}
	if err := checkTypes(&s, ""); err != nil {
		return nil, err
	}
	resolved, err := s.Resolve(&jsonschema.ResolveOptions{Loader: loadNothing})
	if err != nil {
		return nil, schemaError(err)
	}
	return &schema{resolved}, nil
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

// loadNothing loads no schema that another refers to.
func loadNothing(*url.URL) (*jsonschema.Schema, error) {
	return nil, errors.New("a schema may refer to itself only, nothing is loaded")
}

// check returns an error at the table of keys if the configuration of the instance is not as
// the schema says.
func (s *schema) check(p configs.Plugin, keys configs.InstanceKeys) error {
	var value any
	err := json.Unmarshal(p.ConfigurationJSON(), &value)
	if err == nil {
		err = s.resolved.Validate(value)
	}
	if err == nil {
		return nil
	}
	return configs.LoadErrors{{Source: keys.Source, Line: keys.Line,
		Err: fmt.Errorf("the configuration of %s is not as the package wants it: %w", p.Callsign, schemaError(err))}}
}

// schemaError returns the error of the library in one line, without the library's own words.
func schemaError(err error) error {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	text = strings.NewReplacer("validating root: ", "", "jsonschema: ", "", "validating ", "at ", "/1 is ", " is ", ".000000", "").Replace(text)
	return errors.New(text)
}
