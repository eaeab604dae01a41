package shell

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"dormouse/internal/schema"
)

// What a profile may have at most.
const (
	maxProfileList = 256
	maxProfileText = 256      // bytes of a name, tag, range or address
	maxDescription = 4 << 10  // bytes
	maxSchema      = 64 << 10 // bytes
)

// Check returns all that is wrong with the profile, nil if others can use it.
func (p Profile) Check() error {
	errs := []error{
		checkTexts("title, name or version", p.Title, p.Name, p.Version), checkTags(p.Tags, false),
		checkLength("types", len(p.Provides)), checkLength("uses", len(p.Uses)), checkLength("links", len(p.Links)),
	}
	if n := len(p.Description); n > maxDescription {
		errs = append(errs, fmt.Errorf("its description has %d bytes, at most %d are allowed", n, maxDescription))
	}
	for _, t := range p.Provides {
		if err := t.check(); err != nil {
			errs = append(errs, fmt.Errorf("the type %q: %w", t.Name, err))
		}
	}
	for _, u := range p.Uses {
		if err := u.Check(); err != nil {
			errs = append(errs, fmt.Errorf("the use of %q: %w", u.Type, err))
		}
	}
	if err := p.Entry.check(); err != nil {
		errs = append(errs, fmt.Errorf("the entry point: %w", err))
	}
	for i, l := range p.Links {
		errs = append(errs, checkTexts("link", l.Type, l.Href))
		if l.Type == "" || l.Href == "" || slices.ContainsFunc(p.Links[:i], func(other Link) bool { return other.Type == l.Type }) {
			errs = append(errs, fmt.Errorf("the link %q: each needs an address and a type of its own", l.Type))
		}
	}
	return errors.Join(errs...)
}

// check returns what is wrong with a type that is provided.
func (t Type) check() error {
	errs := []error{checkTypeName(t.Name), checkVersion(t.Version), checkTexts("service", t.Service), checkLength("methods", len(t.Methods))}
	if t.Service != "" && len(t.Methods) > 0 {
		errs = append(errs, errors.New("it is a service or methods, not both"))
	}
	for _, m := range t.Methods {
		errs = append(errs, checkTexts("method", m.Name))
		if m.Name == "" {
			errs = append(errs, errors.New("a method has no name"))
		}
		for what, text := range map[string][]byte{"parameters": m.Params, "result": m.Result} {
			if _, err := compileOrNil(text); err != nil {
				errs = append(errs, fmt.Errorf("the schema of the %s of %s: %w", what, m.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Check returns what is wrong with the use.
func (u Use) Check() error {
	errs := []error{checkTexts("range or parameter", u.Range, u.Parameter), checkTags(u.Tags, true)}
	if u.Type != "" {
		errs = append(errs, checkTypeName(u.Type))
	} else if len(u.Tags) == 0 {
		errs = append(errs, errors.New("it names neither a type nor tags"))
	}
	if _, err := u.versions(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// versions returns the range of versions, nil for any.
func (u Use) versions() (*semver.Constraints, error) {
	if u.Range == "" {
		return nil, nil
	}
	versions, err := semver.NewConstraint(u.Range)
	if err != nil {
		return nil, fmt.Errorf(`%q is not a range of versions such as "^1.2" or ">=1.0 <3"`, u.Range)
	}
	return versions, nil
}

// check returns what is wrong with the entry point, which may be nil.
func (e *EntryPoint) check() error {
	if e == nil {
		return nil
	}
	var errs []error
	if !slices.Contains([]EntryKind{Processing, Visualization, Conversion, Dataloader, Interaction}, e.Kind) {
		errs = append(errs, fmt.Errorf("there is no kind %q", e.Kind))
	}
	if _, err := compileOrNil(e.Schema); err != nil {
		errs = append(errs, fmt.Errorf("the schema of the parameters: %w", err))
	}
	if strings.HasPrefix(e.UI, "/") || e.UI != "" && path.Clean(e.UI) != strings.TrimSuffix(e.UI, "/") || strings.HasPrefix(e.UI, "..") {
		errs = append(errs, fmt.Errorf("its page %q is not a path below the plugin's own", e.UI))
	}
	errs = append(errs, checkTexts("page", e.UI), checkLength("data inputs", len(e.DataInputs)), checkLength("data outputs", len(e.DataOutputs)))
	for _, d := range slices.Concat(e.DataInputs, e.DataOutputs) {
		errs = append(errs, checkTexts("data", append(slices.Clip(d.ContentTypes), d.Name, d.DataType)...), checkLength("content types", len(d.ContentTypes)))
	}
	return errors.Join(errs...)
}

// compileOrNil returns the schema that the text is, nil for no text.
func compileOrNil(text []byte) (*schema.Schema, error) {
	if len(text) == 0 {
		return nil, nil
	}
	if len(text) > maxSchema {
		return nil, fmt.Errorf("it has %d bytes, at most %d are allowed", len(text), maxSchema)
	}
	return schema.Compile(text)
}

// checkTypeName returns an error if a type can't have the name.
func checkTypeName(name string) error {
	if name == "" || strings.ContainsAny(name, " \t\n,!") {
		return fmt.Errorf("%q is not a name of a type such as \"objective-function\"", name)
	}
	return checkTexts("type", name)
}

// checkVersion returns an error if the text is neither empty nor a semantic version.
func checkVersion(text string) error {
	if text == "" {
		return nil
	}
	if _, err := semver.StrictNewVersion(text); err != nil {
		return fmt.Errorf(`%q is not a version such as "1.2.3" or "2.0.0-rc.1"`, text)
	}
	return nil
}

// checkTags returns an error if a text is not a tag. Only one that is looked for may begin with "!".
func checkTags(tags []string, wanted bool) error {
	for _, tag := range tags {
		word := tag
		if wanted {
			word = strings.TrimPrefix(tag, "!")
		}
		if word == "" || strings.ContainsAny(word, " \t\n!") {
			return fmt.Errorf("%q is not a tag: a word without spaces", tag)
		}
	}
	return errors.Join(checkTexts("tag", tags...), checkLength("tags", len(tags)))
}

// checkTexts returns an error if one of the texts is too long.
func checkTexts(what string, texts ...string) error {
	for _, text := range texts {
		if len(text) > maxProfileText {
			return fmt.Errorf("a %s has %d bytes, at most %d are allowed", what, len(text), maxProfileText)
		}
	}
	return nil
}

// checkLength returns an error if a list has too many elements.
func checkLength(what string, length int) error {
	if length > maxProfileList {
		return fmt.Errorf("it has %d %s, at most %d are allowed", length, what, maxProfileList)
	}
	return nil
}
