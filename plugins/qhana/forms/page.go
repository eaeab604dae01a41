package forms

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// ContentType is that of a page, and Policy what a browser may do with it: run nothing, load
// nothing.
const (
	ContentType = "text/html; charset=utf-8"
	Policy      = "default-src 'none'; style-src 'unsafe-inline'"
)

// Page is what a page with a form shows besides the fields.
type Page struct {
	Title       string
	Description string
	Action      string // the address to which a browser sends the form
	// Values are what the fields hold; those without one hold their defaults. Nil for a page that
	// was not sent yet.
	Values url.Values
	Errors Errors
}

// page is what the template shows.
type page struct {
	Page
	Fields []field
	Whole  []string // errors about no single field
}

// field is one field of a form, as the template shows it.
type field struct {
	Name, Label, Help string
	Kind              fieldKind
	Type              string // of an input
	Value             string
	Required          bool
	Choices           []choice // of a select
	Errors            []string

	// Bounds of an input, empty for none.
	Min, Max, Step, MinLength, MaxLength string
}

// choice is one of the values of a select.
type choice struct {
	Value    string
	Selected bool
}

// fieldKind is which element a field is.
type fieldKind string

const (
	inputField    fieldKind = "input"
	areaField     fieldKind = "area" // of several lines
	selectField   fieldKind = "select"
	multipleField fieldKind = "multiple" // a select of any number
	checkField    fieldKind = "check"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("form").Parse(pageText))

// Write writes the page with a field for each property of the schema.
func (s *Schema) Write(w io.Writer, p Page) error {
	shown := page{Page: p, Whole: p.Errors[Whole]}
	for _, name := range s.names {
		shown.Fields = append(shown.Fields, s.field(name, p))
	}
	for name, texts := range p.Errors {
		if name != Whole && !slices.Contains(s.names, name) {
			for _, text := range texts {
				shown.Whole = append(shown.Whole, name+": "+text)
			}
		}
	}
	slices.Sort(shown.Whole)
	var text bytes.Buffer
	if err := pageTemplate.Execute(&text, shown); err != nil {
		return err
	}
	_, err := w.Write(text.Bytes())
	return err
}

// field returns the field for the property of that name.
func (s *Schema) field(name string, p Page) field {
	schema := s.property(name)
	declared := s.root.Properties[name]
	f := field{
		Name: name, Label: firstOf(declared.Title, schema.Title, name), Help: firstOf(declared.Description, schema.Description),
		Required: s.isRequired(name), Errors: p.Errors[name],
	}
	values := []string{defaultOf(declared, schema)}
	if p.Values != nil {
		values = p.Values[name]
	}
	if len(values) > 0 {
		f.Value = values[len(values)-1]
	}
	f.shape(schema, values)
	return f
}

// shape sets which element the field is, for values of that schema.
func (f *field) shape(p *jsonschema.Schema, values []string) {
	f.Kind, f.Type = inputField, "text"
	switch kind := typeOf(p); {
	case len(p.Enum) > 0:
		f.Kind, f.Choices = selectField, choicesOf(p.Enum, values)
		if !f.Required {
			f.Choices = append([]choice{{}}, f.Choices...)
		}
	case kind == "boolean":
		f.Kind, f.Required = checkField, false // a required boolean may be false
	case kind == "integer", kind == "number":
		f.Type = "number"
		f.Min, f.Max = numberText(p.Minimum), numberText(p.Maximum)
		if kind == "number" {
			f.Step = "any"
		}
	case kind == "array" && p.Items != nil && len(p.Items.Enum) > 0:
		f.Kind, f.Choices = multipleField, choicesOf(p.Items.Enum, listTexts(values))
	case kind == "array":
		f.Kind, f.Value = areaField, strings.Join(listTexts(values), "\n")
		f.Help = strings.TrimSpace(f.Help + " One in each line.")
	case kind == "object", kind == "" && (p.AnyOf != nil || p.OneOf != nil || p.AllOf != nil || p.Types != nil):
		f.Kind = areaField
		f.Help = strings.TrimSpace(f.Help + " As JSON.")
	case kind == "string":
		f.shapeText(p)
	}
}

// inputTypes are the types of inputs for formats of texts.
var inputTypes = map[string]string{
	"uri": "url", "url": "url", "iri": "url", "email": "email", "date": "date", "time": "time", "password": "password",
}

// shapeText sets which element the field is, for texts.
func (f *field) shapeText(p *jsonschema.Schema) {
	switch t := inputTypes[p.Format]; {
	case t != "":
		f.Type = t
	case p.WriteOnly:
		f.Type = "password"
	case p.Format == "textarea" || p.MaxLength != nil && *p.MaxLength > 500 || strings.Contains(f.Value, "\n"):
		f.Kind = areaField
	}
	if f.Type == "password" {
		f.Value = ""
	}
	f.MinLength, f.MaxLength = numberText(p.MinLength), numberText(p.MaxLength)
}

// numberText returns the number as text, empty for nil.
func numberText[T int | float64](n *T) string {
	if n == nil {
		return ""
	}
	return strconv.FormatFloat(float64(*n), 'f', -1, 64)
}

// choicesOf returns the choices for the values of an enumeration.
func choicesOf(all []any, selected []string) (choices []choice) {
	for _, text := range textsOf(all) {
		choices = append(choices, choice{text, slices.Contains(selected, text)})
	}
	return choices
}

// listTexts returns the members of a list: the values, or those of the one that is a JSON list or
// has several lines.
func listTexts(values []string) []string {
	if len(values) != 1 {
		return values
	}
	var list []any
	if json.Unmarshal([]byte(values[0]), &list) == nil {
		return textsOf(list)
	}
	return strings.Split(values[0], "\n")
}

// defaultOf returns the text of the first default that one of the schemas has, empty for none.
func defaultOf(schemas ...*jsonschema.Schema) string {
	for _, s := range schemas {
		var value any
		if len(s.Default) > 0 && json.Unmarshal(s.Default, &value) == nil {
			return textOf(value)
		}
	}
	return ""
}

// firstOf returns the first text that is not empty.
func firstOf(texts ...string) string {
	i := slices.IndexFunc(texts, func(text string) bool { return text != "" })
	if i < 0 {
		return ""
	}
	return texts[i]
}
