package packager

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"

	"dormouse/internal/atomicfile"
	"dormouse/plugins/packager/records"
	"dormouse/plugins/thunder"
)

// Uploaded is the answer to an upload whose installation has begun.
type Uploaded struct {
	Package   string `json:"package"`
	Version   string `json:"version"`
	Operation string `json:"operation"`
	Message   string `json:"message"`
}

// serveUpload takes an archive, which is the body of a request, and begins its installation. It is
// written to the disk as it arrives; max-size in [packages] bounds it. The options of an installation stand
// in the query: package (the name that it must have), replace, downgrade, grant, operation.
func (p *Packager) serveUpload(w http.ResponseWriter, r *http.Request) {
	answer, err := p.upload(w, r)
	if err != nil {
		respondError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(answer)
}

// upload receives the archive and begins its installation.
func (p *Packager) upload(w http.ResponseWriter, r *http.Request) (Uploaded, error) {
	if err := p.openDirs(); err != nil {
		return Uploaded{}, err
	}
	if err := checkOptions(r.URL.Query()); err != nil {
		return Uploaded{}, err
	}
	most := int64(p.settings().MaxSize)
	if r.ContentLength > most {
		return Uploaded{}, tooBig(most)
	}
	path, err := p.receive(http.MaxBytesReader(w, r.Body, most))
	if _, big := errors.AsType[*http.MaxBytesError](err); big {
		return Uploaded{}, tooBig(most)
	}
	if err != nil {
		return Uploaded{}, err
	}
	answer, err := p.installUpload(path, r)
	if err != nil {
		return Uploaded{}, errors.Join(err, os.Remove(path))
	}
	return answer, nil
}

// checkOptions returns an ErrBadRequest for an option of an installation that is neither true nor
// false.
func checkOptions(query url.Values) error {
	for _, name := range []string{"replace", "downgrade", "grant"} {
		if text := query.Get(name); query.Has(name) && text != "true" && text != "false" {
			return fmt.Errorf("%w: %s is %q; give true or false", ErrBadRequest, name, text)
		}
	}
	return nil
}

func tooBig(most int64) error {
	return fmt.Errorf("%w: max-size in [packages] allows %d bytes", ErrTooBig, most)
}

// receive writes a body to a file of its own, and returns its path.
func (p *Packager) receive(body io.Reader) (path string, err error) {
	f, err := os.CreateTemp(p.dirs.UploadDir(), "upload-*.part")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, body)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// installUpload begins to install an archive that was received.
func (p *Packager) installUpload(path string, r *http.Request) (Uploaded, error) {
	m, err := p.peekSource(r.Context(), path)
	if err != nil {
		return Uploaded{}, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	query := r.URL.Query()
	if named := query.Get("package"); named != "" && named != m.Name {
		return Uploaded{}, fmt.Errorf("%w: it is the package %s and not %s", ErrBadRequest, m.Name, named)
	}
	asked := records.Request{
		ID: query.Get("operation"), Verb: records.Install, Source: path, Uploaded: true, Origin: records.Local, FromHere: isLoopback(r),
		Replace: query.Get("replace") == "true", Downgrade: query.Get("downgrade") == "true", Grant: query.Get("grant") == "true",
	}
	if asked.ID, err = p.beginUpload(m, asked); err != nil {
		return Uploaded{}, err
	}
	return Uploaded{
		Package: m.Name, Version: m.Version, Operation: asked.ID,
		Message: m.Name + " " + m.Version + " is in the database and among the files once it is installed; it is usable then, without a restart",
	}, nil
}

// removeSpentUploads removes the uploaded archives of the operation, and of the one that failed
// before it, unless retry would need them.
func (o *operation) removeSpentUploads() {
	needed := ""
	if record, _ := o.p.records.Get(o.name); record.Failure != nil {
		needed = record.Failure.Request.Source
	}
	spent := []records.Request{o.request}
	if o.failed != nil {
		spent = append(spent, o.failed.Request)
	}
	for _, r := range spent {
		if !r.Uploaded || r.Source == needed {
			continue
		}
		if err := os.Remove(r.Source); err != nil && !errors.Is(err, fs.ErrNotExist) {
			o.p.log.Error().Err(err).Str("package", o.name).Msg("cannot remove an uploaded archive")
		}
	}
}

// isLoopback reports whether the request came from this machine.
func isLoopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr == "" || r.RemoteAddr == "@" // a unix socket
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// httpStatuses is the status of an error by its number.
var httpStatuses = map[thunder.ErrorNumber]int{
	thunder.BadRequest:         http.StatusBadRequest,
	thunder.InProgress:         http.StatusConflict,
	thunder.IllegalState:       http.StatusConflict,
	thunder.InvalidInputLength: http.StatusRequestEntityTooLarge,
	thunder.UnknownKey:         http.StatusNotFound,
	thunder.Unavailable:        http.StatusServiceUnavailable,
}

// retryAfter is after how many seconds a request may succeed that failed with a status.
var retryAfter = map[int]string{http.StatusServiceUnavailable: "1", http.StatusInsufficientStorage: "10"}

// respondError answers with the status that fits an error, and its text.
func respondError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if atomicfile.IsNoRoom(err) {
		status = http.StatusInsufficientStorage
	} else if e := new(*thunder.Error); errors.As(numbered(err), e) {
		if known, ok := httpStatuses[(*e).Number]; ok {
			status = known
		}
	}
	if after, ok := retryAfter[status]; ok {
		w.Header().Set("Retry-After", after)
	}
	http.Error(w, err.Error(), status)
}
