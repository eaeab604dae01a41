package outbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// tryTimeout is how long one try may take, with all that it reads.
	tryTimeout = 10 * time.Second
	// maxAnswer is how much of an answer's body is read, so that the connection can be used
	// again; of its header as much again, and some.
	maxAnswer       = 4 << 10
	maxAnswerHeader = 16 << 10
	// idleConnection is how long a connection is kept that is not in use.
	idleConnection = 10 * time.Second
)

// Causes for which a try is stopped.
var (
	errTimeout   = errors.New("the try took too long")
	errAbandoned = errors.New("the try has left its place to another one")
)

// sender makes requests.
type sender struct {
	guarded, exempt *http.Client
}

// newSender returns a sender that goes where the options allow.
func (o *Outbox) newSender() *sender {
	return &sender{
		guarded: o.newClient(o.options.Targets.DialContext),
		exempt:  o.newClient((&net.Dialer{}).DialContext),
	}
}

// newClient returns a client that follows no redirects and asks no proxy, which would hide the
// address that is dialed.
func (o *Outbox) newClient(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	transport := o.options.transport
	if transport == nil {
		transport = &http.Transport{
			DialContext: dial, DisableCompression: true, MaxResponseHeaderBytes: maxAnswerHeader,
			MaxIdleConns: maxTries, MaxIdleConnsPerHost: maxTriesOfTarget, IdleConnTimeout: idleConnection,
		}
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// close closes the connections that are not in use.
func (s *sender) close() {
	s.guarded.CloseIdleConnections()
	s.exempt.CloseIdleConnections()
}

// send makes one try of the delivery, until it is answered or ctx ends.
func (s *sender) send(ctx context.Context, k Kind, d Delivery, secrets []secret, now func() time.Time) answer {
	ctx, cancel := context.WithTimeoutCause(ctx, tryTimeout, errTimeout)
	defer cancel()
	client := s.guarded
	if k.Exempt {
		client = s.exempt
	}
	url := d.URL
	if k.Find != nil {
		var err error
		if url, err = k.Find(ctx, client, d); err != nil {
			return answerTo(ctx, err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(d.Body))
	if err != nil {
		return answer{verdict: givenUp, reason: "cannot make a request: " + err.Error()}
	}
	if len(d.Body) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("User-Agent", "Dormouse")
	request.Header["Idempotency-Key"] = nil // net/http may then use a connection again that the target has just closed
	sign(request.Header, d, secrets, now())
	response, err := client.Do(request)
	if err != nil {
		return answerTo(ctx, err)
	}
	defer response.Body.Close()
	defer time.AfterFunc(slowAfter, cancel).Stop()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // the status says it all
	return answerOf(response, now())
}
