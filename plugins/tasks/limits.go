package tasks

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"mime"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"dormouse/internal/schema"
	"dormouse/plugins/tasks/taskspb"
)

// Limits of the parts of a task.
const (
	MaxJSON    = 1 << 20  // bytes of parameters and of the values of a step
	MaxData    = 64 << 10 // bytes of the data
	maxName    = 256      // bytes of a title, an id, a name or a type
	maxHref    = 4 << 10
	maxSchema  = 256 << 10
	maxSteps   = 1000
	maxLinks   = 64
	maxOutputs = 1000
)

// checkName returns an error unless the text names something: no control characters, no slash,
// not too long and, if it must be given, not empty.
func checkName(what, name string, mustBeGiven bool) error {
	switch {
	case name == "" && mustBeGiven:
		return fmt.Errorf("%w: %s is missing", ErrInvalid, what)
	case len(name) > maxName:
		return fmt.Errorf("%w: %s has %d bytes, at most %d may be", ErrTooLarge, what, len(name), maxName)
	case !utf8.ValidString(name), strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w: %s has characters that are not text", ErrInvalid, what)
	case mustBeGiven && (strings.Contains(name, "/") || name == "." || name == ".."):
		return fmt.Errorf("%w: %s must not be a path", ErrInvalid, what)
	}
	return nil
}

// checkHref returns an error unless the address is empty, an absolute one of HTTP or a path.
func checkHref(what, href string) error {
	switch {
	case len(href) > maxHref:
		return fmt.Errorf("%w: %s has %d bytes, at most %d may be", ErrTooLarge, what, len(href), maxHref)
	case !utf8.ValidString(href), strings.ContainsFunc(href, unicode.IsControl):
		return fmt.Errorf("%w: %s has characters that are not text", ErrInvalid, what)
	}
	u, err := url.Parse(href)
	isPath := err == nil && u.Scheme == "" && u.Host == ""
	isAbsolute := err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
	if !isPath && !isAbsolute {
		return fmt.Errorf("%w: %s must begin with http:// or https://, or be a path, and not %.200q", ErrInvalid, what, href)
	}
	return nil
}

// checkMediaType returns an error unless the text is empty or a media type.
func checkMediaType(what, text string) error {
	media, _, err := mime.ParseMediaType(text)
	if text != "" && (err != nil || !strings.Contains(media, "/")) {
		return fmt.Errorf("%w: %s %.64q is not a media type such as text/plain", ErrInvalid, what, text)
	}
	return checkName(what, cmp.Or(text, "-"), false)
}

// checkJSON returns an error unless raw is empty or JSON of at most that many bytes.
func checkJSON(what string, raw []byte, limit int) error {
	switch {
	case len(raw) > limit:
		return fmt.Errorf("%w: %s has %d bytes, at most %d may be", ErrTooLarge, what, len(raw), limit)
	case len(raw) > 0 && !json.Valid(raw):
		return fmt.Errorf("%w: %s must be JSON", ErrInvalid, what)
	}
	return nil
}

// checkObject returns an error unless raw is empty or a JSON object of at most MaxJSON bytes.
func checkObject(what string, raw []byte) error {
	if err := checkJSON(what, raw, MaxJSON); err != nil {
		return err
	}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) > 0 && trimmed[0] != '{' {
		return fmt.Errorf("%w: %s must be a JSON object", ErrInvalid, what)
	}
	return nil
}

// checkBySchema returns an error that names the wrong member unless raw, or for no bytes an empty
// object, is as the JSON Schema says. Without a schema all is well.
func checkBySchema(what string, raw, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	s, err := schema.Compile(text)
	if err != nil {
		return fmt.Errorf("the schema of %s can't be used: %w", what, err)
	}
	if len(raw) == 0 {
		raw = []byte("{}")
	}
	if err := s.CheckJSON(raw); err != nil {
		return fmt.Errorf("%w: in %s %w", ErrInvalid, what, err)
	}
	return nil
}

// checkProgress returns an error unless the numbers are such that JSON has, and the unit is a name.
func checkProgress(p *taskspb.Progress) error {
	for _, n := range []float64{p.GetValue(), p.GetStart(), p.GetTarget()} {
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return fmt.Errorf("%w: the progress must be of finite numbers, and not %v", ErrInvalid, n)
		}
	}
	return checkName("the unit", p.GetUnit(), false)
}

// checkLinks returns an error unless each of the links has a type.
func checkLinks(links []*taskspb.Link) error {
	for _, l := range links {
		if err := checkName("the type of a link", l.GetType(), true); err != nil {
			return err
		}
		if err := checkHref("the address of a link", l.GetHref()); err != nil {
			return err
		}
	}
	return nil
}

// checkStep returns an error unless the step may be added to a task.
func checkStep(s *taskspb.Step) error {
	if err := checkName("the id of a step", s.GetId(), true); err != nil {
		return err
	}
	if err := checkName("the title of a step", s.GetTitle(), false); err != nil {
		return err
	}
	if err := checkHref("the address of a step", s.GetHref()); err != nil {
		return err
	}
	if err := checkHref("the page of a step", s.GetUi()); err != nil {
		return err
	}
	if err := checkJSON("the schema of a step", s.GetSchema(), maxSchema); err != nil || len(s.GetSchema()) == 0 {
		return err
	}
	if _, err := schema.Compile(s.GetSchema()); err != nil {
		return fmt.Errorf("%w: the schema of the step %s can't be used: %w", ErrInvalid, s.GetId(), err)
	}
	return nil
}
