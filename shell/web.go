package shell

import (
	"cmp"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/shell/web"
	"dormouse/shell/webpb"
)

// Web is what a Backend has that answers HTTP requests below /Service/<Callsign>/, besides
// the web page below UI. A plugin with a Conn does so by serving dormouse.web.v1.Web instead.
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
	// Waits reports whether a request may come while the instance is not active: it wakes
	// the plugin or waits for it, or is refused, as a call would be.
	Waits bool
	// TakesForms reports whether pages of the host may send forms, as browsers do without a
	// script.
	TakesForms bool
}

// MemoryOf returns how many bytes of a request's body are in memory at once at most.
func (e Endpoint) MemoryOf(r *http.Request) int64 {
	length := r.ContentLength
	if length < 0 || length > e.MaxBody {
		length = e.MaxBody
	}
	return min(length, cmp.Or(e.Memory, length))
}

// webMethod is the method which a client must be allowed to call for a request that a plugin
// answers.
const webMethod = "web"

// HasEndpoints reports whether the instance may have endpoints.
func (s *Shell) HasEndpoints() bool {
	_, ok := s.backend.(Web)
	return ok || s.servesWeb()
}

// servesWeb reports whether the plugin answers HTTP requests itself, for a virtual plugin that of
// its parent.
func (s *Shell) servesWeb() bool {
	return s.answering().Serves(webpb.Web_ServiceDesc.ServiceName) && s.Conn() != nil
}

// answering returns the shell of the plugin that answers for the instance: its parent's, for a
// virtual plugin.
func (s *Shell) answering() *Shell {
	if s.virtual != nil {
		return s.virtual.Parent()
	}
	return s
}

// Endpoint returns what answers requests with that HTTP method for that path of the instance;
// false for nothing. A plugin that serves dormouse.web.v1.Web answers for every path, except
// UI and what is below.
func (s *Shell) Endpoint(httpMethod, path string) (Endpoint, bool) {
	if own, ok := s.backend.(Web); ok {
		return own.Endpoint(httpMethod, path)
	}
	if first, _, _ := strings.Cut(path, "/"); first == "UI" || !s.servesWeb() {
		return Endpoint{}, false
	}
	handler := web.Handler{
		Conn: s.Conn(), Callsign: s.callsign, Path: path,
		AnswerTime: time.Duration(s.answering().Config().CallTimeout), Refuse: s.refuseRequest,
	}
	maxBody := cmp.Or(s.answering().information().MaxWebBody, web.DefaultMaxBody)
	return Endpoint{Handler: handler, Needs: webMethod, MaxBody: maxBody, Memory: web.Memory, Waits: true, TakesForms: true}, true
}

// refuseRequest answers an HTTP request that the plugin has not answered: 503 if the plugin has
// not got it, with when to try again if that is known; 504 if no answer came in time; else 502.
func (s *Shell) refuseRequest(w http.ResponseWriter, err error) {
	asleep, sleepsOn := errors.AsType[*AsleepError](err)
	answer, isAnswer := err.(interface{ GRPCStatus() *status.Status })
	code, why := http.StatusBadGateway, " failed"
	switch {
	case sleepsOn:
		setRetryAfter(w, asleep.RetryAfter())
		code, why = http.StatusServiceUnavailable, " can't be woken now"
	case errors.Is(err, ErrBusy):
		setRetryAfter(w, RetryAfter)
		code, why = http.StatusServiceUnavailable, ": too many calls wait for it; try again"
	case errors.Is(err, ErrTimedOut):
		code, why = http.StatusGatewayTimeout, " did not become ready in time"
	case errors.Is(err, ErrHibernated):
		code, why = http.StatusServiceUnavailable, " is hibernated"
	case errors.Is(err, ErrUnavailable):
		code, why = http.StatusServiceUnavailable, " is not active"
	case errors.Is(err, ErrNotAnswered):
		why = " ended before it answered; what the request asked for may be done"
	case isAnswer && answer.GRPCStatus().Code() == codes.Unavailable:
		code, why = http.StatusServiceUnavailable, ": "+answer.GRPCStatus().Message()
	case isAnswer:
		why = ": " + answer.GRPCStatus().Message()
	}
	http.Error(w, s.callsign+why, code)
}

// setRetryAfter tells the client after how many seconds to try again, one at least.
func setRetryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
}
