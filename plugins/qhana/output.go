package qhana

import (
	"cmp"
	"net/http"
	"time"
)

// serveOutput answers with a file of a task, whose address has its key and name. A browser runs
// nothing in it, for it has the host's own origin.
func (q *QHAna) serveOutput(w http.ResponseWriter, r *http.Request, task, key, name string) {
	about, content, err := q.Tasks.OpenOutput(r.Context(), task, key)
	if err != nil {
		q.respondError(w, err)
		return
	}
	defer content.Close()
	if about.GetName() != name || about.GetKey() != key {
		q.serveNotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", cmp.Or(about.GetContentType(), "application/octet-stream"))
	if about.GetDataType() != "" {
		w.Header().Set("X-Data-Type", about.GetDataType())
	}
	w.Header().Set("Content-Security-Policy", "sandbox")
	if about.GetDigest() != "" {
		w.Header().Set("ETag", `"`+about.GetDigest()+`"`)
	}
	http.ServeContent(w, r, "", time.Time{}, content)
}
