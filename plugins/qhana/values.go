package qhana

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"dormouse/plugins/qhana/forms"
)

// maxFields is how many fields a form may have.
const maxFields = 1000

// formType is the content type of a browser's form.
const formType = "application/x-www-form-urlencoded"

// sent is what a request has for a body, as values of a schema.
type sent struct {
	values json.RawMessage
	errors forms.Errors
	part   string     // "form" or "json": where the values were
	form   url.Values // nil for JSON, and for a body without a type
}

// readValues returns the values in the body of a request: a form, JSON or nothing. If the body is
// none of these it answers the request and returns false.
func readValues(w http.ResponseWriter, r *http.Request, s *forms.Schema) (sent, bool) {
	body, err := io.ReadAll(r.Body)
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		respondProblem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", tooLong.Limit))
		return sent{}, false
	}
	if err != nil {
		respondProblem(w, http.StatusBadRequest, "the body could not be read")
		return sent{}, false
	}
	media, why := mediaOf(r.Header.Get("Content-Type"), len(body) == 0)
	switch {
	case why != "":
		respondProblem(w, http.StatusUnsupportedMediaType, why)
		return sent{}, false
	case media == formType:
		return readForm(w, body, s)
	}
	values, wrong := s.FromJSON(body)
	return sent{values: values, errors: wrong, part: "json"}, true
}

// readForm returns the values in the text of a form. If there are too many, or the text is none of
// a form, it answers the request and returns false.
func readForm(w http.ResponseWriter, body []byte, s *forms.Schema) (sent, bool) {
	if n := strings.Count(string(body), "&") + 1; n > maxFields {
		respondProblem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the form has %d fields, at most %d are allowed", n, maxFields))
		return sent{}, false
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		respondProblem(w, http.StatusBadRequest, "the body is not a form: "+err.Error())
		return sent{}, false
	}
	values, wrong := s.FromForm(form)
	return sent{values: values, errors: wrong, part: "form", form: form}, true
}

// mediaOf returns formType or "application/json", whichever the header Content-Type names, or why
// it can't be either. A body without a type is JSON, as is one of which there is nothing.
func mediaOf(contentType string, isEmpty bool) (media, why string) {
	if contentType == "" {
		return "application/json", ""
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	charset := strings.ToLower(parameters["charset"])
	switch {
	case err != nil || media != formType && media != "application/json" && !isEmpty:
		return "", "the body must be of the type " + formType + " or application/json"
	case charset != "" && charset != "utf-8" && charset != "utf8" && charset != "us-ascii":
		return "", fmt.Sprintf("the charset must be utf-8, not %q", charset)
	case media == formType:
		return formType, ""
	}
	return "application/json", ""
}

// respondWrong answers 422 with what is wrong with the values: a browser gets the form again, with
// what was typed.
func (s sent) respondWrong(w http.ResponseWriter, r *http.Request, schema *forms.Schema, page forms.Page) {
	if s.form == nil || !wantsPage(r) {
		respondErrors(w, s.part, s.errors)
		return
	}
	page.Values, page.Errors = s.form, s.errors
	respondPage(w, http.StatusUnprocessableEntity, schema, page)
}

// wantsPage reports whether the client prefers HTML, as browsers do.
func wantsPage(r *http.Request) bool {
	accepted := r.Header.Get("Accept")
	html, json := strings.Index(accepted, "text/html"), strings.Index(accepted, "application/json")
	return html >= 0 && (json < 0 || html < json)
}

// respondPage answers with a page that has a form.
func respondPage(w http.ResponseWriter, status int, schema *forms.Schema, page forms.Page) {
	w.Header().Set("Content-Type", forms.ContentType)
	w.Header().Set("Content-Security-Policy", forms.Policy)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = schema.Write(w, page) // the client may be gone
}
