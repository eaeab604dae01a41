package forms

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"

	"dormouse/internal/schema"
)

// Errors are what is wrong with values: texts by the name of the member, under Whole what is
// about no single one. It is empty if nothing is wrong.
type Errors map[string][]string

// Whole is the name under which Errors has what is about no single member.
const Whole = "_schema"

// The texts of common errors, as QHAna's programs word them.
const (
	missing = "Missing data for required field."
	badText = "Not valid UTF-8."
)

// add adds a text about a member.
func (e Errors) add(name, format string, args ...any) {
	e[name] = append(e[name], fmt.Sprintf(format, args...))
}

// FromForm returns the object of the values that a form has, each as the schema wants it, or what
// is wrong with them. A value without text counts as none: a browser sends one for each field.
func (s *Schema) FromForm(form url.Values) (json.RawMessage, Errors) {
	wrong, object := Errors{}, make(map[string]any)
	for name, texts := range form {
		if !utf8.ValidString(name) || slices.ContainsFunc(texts, func(text string) bool { return !utf8.ValidString(text) }) {
			wrong.add(strings.ToValidUTF8(name, "\ufffd"), badText)
			continue
		}
		texts = slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return text == "" })
		if len(texts) == 0 {
			continue
		}
		value, err := valueOf(s.property(name), texts)
		if err != "" {
			wrong.add(name, "%s", err)
			continue
		}
		object[name] = value
	}
	return s.checked(object, wrong)
}

// FromJSON returns the object, or what is wrong with it. An empty text stands for an object
// without members.
func (s *Schema) FromJSON(text []byte) (json.RawMessage, Errors) {
	object := make(map[string]any)
	switch {
	case len(strings.TrimSpace(string(text))) == 0:
	case !utf8.Valid(text):
		return nil, Errors{Whole: {badText}}
	case json.Unmarshal(text, &object) != nil || object == nil:
		return nil, Errors{Whole: {"Invalid input type: a JSON object is needed."}}
	}
	if _, wrong := s.checked(object, Errors{}); len(wrong) > 0 {
		return nil, wrong
	}
	return json.RawMessage(cmp.Or(strings.TrimSpace(string(text)), "{}")), nil // numbers as they are written
}

// checked returns the object as JSON if it is as the schema wants it, and else what is wrong
// besides.
func (s *Schema) checked(object map[string]any, wrong Errors) (json.RawMessage, Errors) {
	for _, name := range s.root.Required {
		if _, ok := object[name]; !ok && wrong[name] == nil {
			wrong.add(name, missing)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		s.noteWrong(name, object[name], wrong)
	}
	if len(wrong) == 0 {
		if err := s.check.Check(plainJSON(object)); err != nil {
			wrong.addWrong(err)
		}
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil, Errors{Whole: {err.Error()}}
	}
	return text, wrong
}

// noteWrong adds why the schema of the member does not take the value, unless it does.
func (s *Schema) noteWrong(name string, value any, wrong Errors) {
	declared, ok := s.root.Properties[name]
	if !ok {
		return
	}
	one, err := compiled(&jsonschema.Schema{Defs: s.root.Defs, Properties: map[string]*jsonschema.Schema{name: declared}})
	if err != nil {
		return // it refers to other parts; the whole is checked last
	}
	err = one.Check(plainJSON(map[string]any{name: value}))
	p := s.property(name)
	text, isText := value.(string)
	switch {
	case err != nil && len(p.Enum) > 0:
		wrong.add(name, "Must be one of: %s.", strings.Join(textsOf(p.Enum), ", "))
	case err != nil:
		wrong.addWrong(err)
	case isText && isAddress(p) && !isURL(text):
		wrong.add(name, "Not a valid URL.")
	}
}

// addWrong adds the error of a check, under the member that it is about.
func (e Errors) addWrong(err error) {
	wrong, ok := errors.AsType[*schema.Error](err)
	if !ok || wrong.Path == "" {
		e.add(Whole, "%s", err.Error())
		return
	}
	name, below, deeper := strings.Cut(wrong.Path[1:], "/")
	name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
	if why := wrong.Why; deeper {
		e.add(name, "/%s %s", below, why)
	} else {
		e.add(name, "It %s.", why)
	}
}

// plainJSON returns the value as json.Unmarshal would have made it.
func plainJSON(value any) (plain any) {
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, &plain)
	}
	if err != nil {
		return value
	}
	return plain
}

// valueOf returns the value that the texts of a field stand for, or why they stand for none.
// There is at least one text. Without a type a text stands for itself, and several for a list.
func valueOf(p *jsonschema.Schema, texts []string) (value any, why string) {
	last := texts[len(texts)-1] // a hidden field may come before a checkbox
	switch typeOf(p) {
	case "integer":
		n, err := strconv.ParseInt(strings.TrimSpace(last), 10, 64)
		if err != nil {
			return nil, "Not a valid integer."
		}
		return n, ""
	case "number":
		n, err := strconv.ParseFloat(strings.TrimSpace(last), 64)
		if err != nil || n-n != 0 {
			return nil, "Not a valid number."
		}
		return n, ""
	case "boolean":
		return booleanOf(last)
	case "array":
		return listOf(p, texts)
	case "object":
		return jsonOf(last)
	case "string":
		return last, ""
	}
	if len(p.Enum) > 0 {
		return choiceOf(p, last)
	}
	if p.Ref != "" || p.AnyOf != nil || p.OneOf != nil || p.AllOf != nil || p.Types != nil {
		if value, why := jsonOf(last); why == "" {
			return value, ""
		}
		return last, "" // a text, unless the schema refuses that
	}
	if len(texts) > 1 {
		list := make([]any, len(texts))
		for i, text := range texts {
			list[i] = text
		}
		return list, ""
	}
	return last, ""
}

// booleanOf returns the boolean that the text stands for.
func booleanOf(text string) (value any, why string) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "on", "1", "yes":
		return true, ""
	case "false", "off", "0", "no":
		return false, ""
	}
	return nil, "Not a valid boolean."
}

// jsonOf returns the value that the JSON text has.
func jsonOf(text string) (value any, why string) {
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return nil, "Not valid JSON."
	}
	return value, ""
}

// choiceOf returns the value of the enumeration that is written like the text.
func choiceOf(p *jsonschema.Schema, text string) (value any, why string) {
	for _, one := range p.Enum {
		if textOf(one) == text {
			return one, ""
		}
	}
	return text, ""
}

// listOf returns the list that the texts stand for: each a member, or one text that is a JSON list
// or has a member in each line.
func listOf(p *jsonschema.Schema, texts []string) (value any, why string) {
	if len(texts) == 1 {
		if strings.HasPrefix(strings.TrimSpace(texts[0]), "[") {
			if value, why := jsonOf(texts[0]); why == "" {
				return value, ""
			}
		}
		texts = slices.DeleteFunc(strings.FieldsFunc(texts[0], func(r rune) bool { return r == '\n' || r == '\r' }),
			func(line string) bool { return strings.TrimSpace(line) == "" })
	}
	items := p.Items
	if items == nil {
		items = &jsonschema.Schema{}
	}
	list := make([]any, 0, len(texts))
	for _, text := range texts {
		one, why := valueOf(items, []string{text})
		if why != "" {
			return nil, why
		}
		list = append(list, one)
	}
	return list, ""
}

// isAddress reports whether values of the schema are absolute URLs.
func isAddress(p *jsonschema.Schema) bool {
	return typeOf(p) == "string" && (p.Format == "uri" || p.Format == "url" || p.Format == "iri")
}

// isURL reports whether the text is an absolute URL.
func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme != "" && (u.Host != "" || u.Opaque != "")
}

// textOf returns a JSON value as a field shows it: a text as it is, all else as JSON.
func textOf(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	if value == nil || reflect.ValueOf(value).Kind() == reflect.Invalid {
		return ""
	}
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(text)
}

// textsOf returns JSON values as a field shows them.
func textsOf(values []any) (texts []string) {
	for _, value := range values {
		texts = append(texts, textOf(value))
	}
	return texts
}
