package schema

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// placeInSchema is how the library names the part of the schema that a value does not pass.
var placeInSchema = regexp.MustCompile(`at /\S*: `)

// maxDepth bounds how deep a wrong member is looked for; a schema may refer to itself.
const maxDepth = 64

// locate returns the JSON pointer of the innermost member that is wrong, and what is wrong with
// it, in a value that does not pass the part of the schema at that pointer.
func (s *Schema) locate(value any, at string, part *jsonschema.Schema, depth int) (path, why string) {
	if depth < maxDepth {
		for _, c := range s.children(value, at, part) {
			if s.passes(c.value, c.at) {
				continue
			}
			path, why := s.locate(c.value, c.at, c.part, depth+1)
			return c.member + path, why
		}
	}
	if object, ok := value.(map[string]any); ok {
		for _, name := range part.Required {
			if _, there := object[name]; !there {
				return "/" + escaped(name), "is missing"
			}
		}
		if isFalse(part.AdditionalProperties) {
			for _, name := range slices.Sorted(maps.Keys(object)) {
				if !isDeclared(part, name) {
					return "/" + escaped(name), "is not known"
				}
			}
		}
	}
	err := s.at(at).Validate(value)
	if err == nil {
		return "", ""
	}
	return "", "does not fit: " + placeInSchema.ReplaceAllString(plainError(err).Error(), "")
}

// child is a member of a value with the part of the schema that it must pass, or the value
// itself, without a member, with another part.
type child struct {
	member string // a JSON pointer
	value  any
	at     string // the JSON pointer of the part
	part   *jsonschema.Schema
}

// children returns the members of the value that the part of the schema says something of, and
// the value itself for parts that it must pass as a whole.
func (s *Schema) children(value any, at string, part *jsonschema.Schema) (all []child) {
	add := func(member string, value any, at string, part *jsonschema.Schema) {
		if part != nil {
			all = append(all, child{member, value, at, part})
		}
	}
	if target, found := s.target(part.Ref); found {
		add("", value, strings.TrimPrefix(part.Ref, "#"), target)
	}
	for i, one := range part.AllOf {
		add("", value, at+"/allOf/"+strconv.Itoa(i), one)
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if one, declared := part.Properties[name]; declared {
				add("/"+escaped(name), value[name], at+"/properties/"+escaped(name), one)
			} else if !isFalse(part.AdditionalProperties) && !isDeclared(part, name) {
				add("/"+escaped(name), value[name], at+"/additionalProperties", part.AdditionalProperties)
			}
		}
	case []any:
		for i, item := range value {
			if i < len(part.PrefixItems) {
				add("/"+strconv.Itoa(i), item, at+"/prefixItems/"+strconv.Itoa(i), part.PrefixItems[i])
			} else {
				add("/"+strconv.Itoa(i), item, at+"/items", part.Items)
			}
		}
	}
	return all
}

// isDeclared reports whether the schema says by name or pattern what the member is.
func isDeclared(s *jsonschema.Schema, name string) bool {
	if _, declared := s.Properties[name]; declared {
		return true
	}
	for pattern := range s.PatternProperties {
		if matches, err := regexp.MatchString(pattern, name); err == nil && matches {
			return true
		}
	}
	return false
}

// isFalse reports whether no value passes the schema: JSON's false, as the library reads it.
func isFalse(s *jsonschema.Schema) bool {
	return s != nil && s.Not != nil && s.Not.Type == "" && s.Not.Types == nil && s.Not.Ref == "" && s.Not.Const == nil && s.Not.Enum == nil &&
		s.Not.Properties == nil && s.Not.Required == nil && s.Not.AnyOf == nil && s.Not.AllOf == nil && s.Not.OneOf == nil && s.Not.Not == nil && s.Not.Pattern == ""
}

// target returns the part of the schema that a reference of the kind "#/$defs/name" names.
func (s *Schema) target(ref string) (*jsonschema.Schema, bool) {
	name, ok := strings.CutPrefix(ref, "#/$defs/")
	if ref == "#" {
		return s.root, true
	}
	if !ok || strings.Contains(name, "/") {
		return nil, false
	}
	target, found := s.root.Defs[unescaped(name)]
	return target, found
}

// passes reports whether the value passes the part of the schema at that JSON pointer.
func (s *Schema) passes(value any, at string) bool {
	part := s.at(at)
	return part == nil || part.Validate(value) == nil
}

// partID is the name under which a schema is the part of another.
const partID = "dormouse:schema"

// at returns the part of the schema at that JSON pointer, nil if it can't be used alone.
func (s *Schema) at(pointer string) *jsonschema.Resolved {
	if pointer == "" {
		return s.resolved
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.parts[pointer]; ok {
		return known
	}
	whole := s.root.CloneSchemas()
	whole.Schema = ""
	if whole.ID == "" {
		whole.ID = partID
	}
	alone := &jsonschema.Schema{Ref: whole.ID + "#" + pointer, Defs: map[string]*jsonschema.Schema{"whole": whole}}
	part, err := alone.Resolve(&jsonschema.ResolveOptions{Loader: loadNothing})
	if err != nil {
		part = nil
	}
	s.parts[pointer] = part
	return part
}

// escaped returns a name as a token of a JSON pointer.
func escaped(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

// unescaped returns the name that a token of a JSON pointer stands for.
func unescaped(token string) string {
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
}
