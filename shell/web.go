package shell

import (
	"cmp"
	"net/http"
)

// Web is what a Backend has that answers HTTP requests below /Service/<Callsign>/, besides
// the web page below UI.
type Web interface {
	// Endpoint returns what answers requests with that HTTP method for that path, which is
	// what follows /Service/<Callsign>/; false for nothing. It must not block.
	Endpoint(httpMethod, path string) (Endpoint, bool)
}

// Endpoint answers the HTTP requests for one path of an instance.
type Endpoint struct {
	http.Handler
	// Needs is the method of the instance which a client must be allowed to call.
	Needs string
	// MaxBody is how many bytes a request's body may have. The handler reads an
	// *http.MaxBytesError at the end of a longer one.
	MaxBody int64
	// Memory is how much of a body is in memory at once at most, in bytes; 0 stands for all
	// of it.
	Memory int64
}

// MemoryOf returns how many bytes of a request's body are in memory at once at most.
func (e Endpoint) MemoryOf(r *http.Request) int64 {
	length := r.ContentLength
	if length < 0 || length > e.MaxBody {
		length = e.MaxBody
	}
	return min(length, cmp.Or(e.Memory, length))
}

// HasEndpoints reports whether the instance may have endpoints.
func (s *Shell) HasEndpoints() bool {
	_, ok := s.backend.(Web)
	return ok
}

// Endpoint returns what answers requests with that HTTP method for that path of the instance;
// false for nothing.
func (s *Shell) Endpoint(httpMethod, path string) (Endpoint, bool) {
	web, ok := s.backend.(Web)
	if !ok {
		return Endpoint{}, false
	}
	return web.Endpoint(httpMethod, path)
}
