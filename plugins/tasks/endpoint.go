package tasks

import (
	"mime"
	"net/http"
	"strings"

	"dormouse/shell"
)

// Endpoint answers GET of an output by the id of its task and its key.
func (b backend) Endpoint(httpMethod, path string) (shell.Endpoint, bool) {
	task, key, ok := strings.Cut(path, "/")
	if httpMethod != http.MethodGet || !ok || task == "" || key == "" || strings.Contains(key, "/") {
		return shell.Endpoint{}, false
	}
	serve := func(w http.ResponseWriter, r *http.Request) { b.ServeOutput(w, r, task, key) }
	return shell.Endpoint{Handler: http.HandlerFunc(serve), Needs: "get"}, true
}

// ServeOutput answers with an output of a task, by its key, or a part of it that the request asks
// for; 404 if there is none. A browser does not show it as a page of the host.
func (t *Tasks) ServeOutput(w http.ResponseWriter, r *http.Request, task, key string) {
	o, f, err := t.OpenOutput(r.Context(), task, key)
	if err != nil {
		http.Error(w, err.Error(), HTTPStatus(err))
		return
	}
	defer func() { _ = f.Close() }()
	header := w.Header()
	if header.Set("Content-Type", "application/octet-stream"); o.GetContentType() != "" {
		header.Set("Content-Type", o.GetContentType())
	}
	if o.GetDataType() != "" {
		header.Set("X-Data-Type", o.GetDataType())
	}
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": o.GetName()}))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "sandbox")
	header.Set("ETag", `"`+o.GetDigest()+`"`)
	info, err := f.Stat()
	if err != nil {
		http.Error(w, "cannot read the output", http.StatusInternalServerError)
		return
	}
	http.ServeContent(w, r, "", info.ModTime(), f)
}
