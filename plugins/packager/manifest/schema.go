package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"dormouse/configs"
)

// schema is the compiled JSON Schema of the instances' configuration.
type schema struct{ compiled *jsonschema.Schema }

// schemaURL names the schema inside the library. Nothing is loaded from it.
const schemaURL = "package:///schema.json"

// parseSchema returns the schema that the text is, of the version 2020-12.
func parseSchema(text []byte) (*schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	if object, ok := document.(map[string]any); ok {
		const draft = "https://json-schema.org/draft/2020-12/schema"
		if named, given := object["$schema"]; given && named != draft && named != draft+"#" {
			return nil, fmt.Errorf("its \"$schema\" is %v; only %s is known", named, draft)
		}
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(noLoader{})
	if err := compiler.AddResource(schemaURL, document); err != nil {
		return nil, schemaError(err)
	}
	compiled, err := compiler.Compile(schemaURL)
	if err != nil {
		return nil, schemaError(err)
	}
	return &schema{compiled}, nil
}

// noLoader loads no schema that another refers to.
type noLoader struct{}

// Load implements jsonschema.URLLoader.
func (noLoader) Load(string) (any, error) {
	return nil, errors.New("a schema may refer to itself only, nothing is loaded")
}

// check returns an error at the table of keys if the configuration of the instance is not as
// the schema says.
func (s *schema) check(p configs.Plugin, keys configs.InstanceKeys) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(p.ConfigurationJSON()))
	if err == nil {
		err = s.compiled.Validate(value)
	}
	if err == nil {
		return nil
	}
	return configs.LoadErrors{{Source: keys.Source, Line: keys.Line,
		Err: fmt.Errorf("the configuration of %s is not as the package wants it: %w", p.Callsign, schemaError(err))}}
}

// schemaError returns the error of the library in one line, without the name of the schema.
func schemaError(err error) error {
	lines := strings.Split(err.Error(), "\n")
	if len(lines) > 1 {
		lines = lines[1:] // the first only says that something is wrong
	}
	for i, line := range lines {
		lines[i] = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "- "))
	}
	return errors.New(strings.ReplaceAll(strings.Join(lines, "; "), schemaURL, "the schema"))
}
