package qhana

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"

	"dormouse/plugins/qhana/forms"
)

// respondJSON answers with a value as JSON. Links in it stay as they are written.
func respondJSON(w http.ResponseWriter, status int, value any) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		status = http.StatusInternalServerError
		body.Reset()
		body.WriteString("{}\n")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}

// problem is what an error is answered with, in the form of flask-smorest.
type problem struct {
	Code    int                     `json:"code"`
	Status  string                  `json:"status"`
	Message string                  `json:"message,omitempty"`
	Errors  map[string]forms.Errors `json:"errors,omitempty"` // by where the values were
}

// respondProblem answers with an error.
func respondProblem(w http.ResponseWriter, status int, message string) {
	respondJSON(w, status, problem{Code: status, Status: http.StatusText(status), Message: message})
}

// respondErrors answers 422 with what is wrong with the values that were in that part of the
// request.
func respondErrors(w http.ResponseWriter, part string, errors forms.Errors) {
	respondJSON(w, http.StatusUnprocessableEntity, problem{
		Code: http.StatusUnprocessableEntity, Status: http.StatusText(http.StatusUnprocessableEntity),
		Errors: map[string]forms.Errors{part: errors},
	})
}

// redirect answers with a redirection that is not kept.
func redirect(w http.ResponseWriter, status int, to string) {
	w.Header().Set("Location", to)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}
