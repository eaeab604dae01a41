package web

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"dormouse/internal/leaktest"
	"dormouse/shell/webpb"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m, "google.golang.org/grpc/", "net/http.")) }

// plugin answers each request by a function of the test.
type plugin struct {
	webpb.UnimplementedWebServer
	serve func(head *webpb.RequestHead, stream webpb.Web_ServeServer, first []byte) error
}

func (p plugin) Serve(stream webpb.Web_ServeServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	return p.serve(first.GetHead(), stream, first.GetBody())
}

// answer sends one message.
func answer(stream webpb.Web_ServeServer, status uint32, body string, headers ...string) error {
	head := &webpb.ResponseHead{Status: status}
	for i := 0; i < len(headers); i += 2 {
		head.Headers = append(head.Headers, &webpb.Header{Name: headers[i], Value: []byte(headers[i+1])})
	}
	return stream.Send(&webpb.Response{Head: head, Body: []byte(body)})
}

// rest returns the body of a request, of which the first part has come.
func rest(stream webpb.Web_ServeServer, first []byte) (body []byte, parts int, err error) {
	body = first
	for parts = 1; ; parts++ {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return body, parts, nil
		}
		if err != nil {
			return body, parts, err
		}
		body = append(body, part.GetBody()...)
	}
}

// rig is an HTTP server whose requests a plugin answers.
type rig struct {
	*httptest.Server
	handler Handler
	grpc    *grpc.Server
}

func newRig(t *testing.T, serve func(*webpb.RequestHead, webpb.Web_ServeServer, []byte) error) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "web") //nolint:usetesting // the name of t.TempDir may be too long for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{grpc: grpc.NewServer()}
	webpb.RegisterWebServer(r.grpc, plugin{serve: serve})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = r.grpc.Serve(l) // Stop ends it
	}()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	r.handler = Handler{Conn: conn, Callsign: "P", Path: "a/b", AnswerTime: time.Minute, Refuse: func(w http.ResponseWriter, err error) {
		http.Error(w, "refused: "+status.Convert(err).Message(), http.StatusTeapot)
	}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		q.Body = &stoppableBody{http.MaxBytesReader(w, q.Body, 1<<20), func() { _ = http.NewResponseController(w).SetReadDeadline(time.Now()) }}
		r.handler.ServeHTTP(w, q)
	}))
	t.Cleanup(func() {
		r.Close()
		_ = conn.Close()
		r.grpc.Stop()
		<-served
	})
	return r
}

// stoppableBody is a body as the front gives it.
type stoppableBody struct {
	io.Reader
	stop func()
}

func (b *stoppableBody) Close() error { b.stop(); return nil }

// received is an answer without its body.
type received struct {
	StatusCode    int
	Header        http.Header
	ContentLength int64
}

// ask sends a request, and returns the answer with its body.
func (r *rig) ask(t *testing.T, method, path string, body io.Reader, headers ...string) (received, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		q.Header.Add(headers[i], headers[i+1])
	}
	answer, err := r.Client().Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return received{answer.StatusCode, answer.Header, answer.ContentLength}, string(text)
}

func TestRequestAndAnswer(t *testing.T) {
	var head *webpb.RequestHead
	r := newRig(t, func(h *webpb.RequestHead, stream webpb.Web_ServeServer, first []byte) error {
		head = h
		body, parts, err := rest(stream, first)
		if err != nil {
			return err
		}
		return answer(stream, 201, fmt.Sprintf("%s in %d", body, parts), "X-Own", "1", "X-Own", "2", "Keep-Alive", "9", "Connection", "X-Hop", "X-Hop", "1", "Access-Control-Allow-Origin", "*")
	})
	got, text := r.ask(t, "PUT", "/Service/P/a/b?q=%20x&y", strings.NewReader("body"), "X-Own", "a", "X-Own", "b", "Connection", "X-Hop", "X-Hop", "1", "X-Forwarded-Prefix", "forged")
	if got.StatusCode != 201 || text != "body in 1" {
		t.Errorf("%d %q", got.StatusCode, text)
	}
	if own := got.Header["X-Own"]; len(own) != 2 || got.Header.Get("X-Hop")+got.Header.Get("Keep-Alive")+got.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("headers of the answer: %v", got.Header)
	}
	if head.GetMethod() != "PUT" || head.GetPath() != "a/b" || head.GetQuery() != "q=%20x&y" || head.GetCallsign() != "P" || head.GetContentLength() != 4 ||
		"http://"+head.GetHost() != r.URL || !strings.HasPrefix(head.GetRemote(), "127.0.0.1:") {
		t.Errorf("head: %v", head)
	}
	headers := make(http.Header)
	for _, h := range head.GetHeaders() {
		headers.Add(h.GetName(), string(h.GetValue()))
	}
	if own := headers["X-Own"]; len(own) != 2 || headers.Get("X-Hop") != "" || headers.Get("X-Forwarded-Prefix") != "/Service/P" || len(headers["X-Forwarded-Prefix"]) != 1 {
		t.Errorf("headers of the request: %v", headers)
	}
}

func TestLongBodiesBothWays(t *testing.T) {
	r := newRig(t, func(_ *webpb.RequestHead, stream webpb.Web_ServeServer, first []byte) error {
		body, parts, err := rest(stream, first)
		if err != nil || parts < 2 {
			return fmt.Errorf("%d parts: %w", parts, err)
		}
		if err := answer(stream, 200, ""); err != nil {
			return err
		}
		for len(body) > 0 {
			n := min(len(body), 300<<10)
			if err := stream.Send(&webpb.Response{Body: body[:n]}); err != nil {
				return err
			}
			body = body[n:]
		}
		return nil
	})
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20/16)
	for _, body := range []io.Reader{bytes.NewReader(sent), io.MultiReader(bytes.NewReader(sent))} { // with and without a length
		if got, text := r.ask(t, "POST", "/a/b", body); got.StatusCode != 200 || text != string(sent) {
			t.Errorf("%d, %d bytes", got.StatusCode, len(text))
		}
	}
}

// TestAnswerBeforeTheBody has a plugin refuse a body that it has not read, and the client goes
// on with a new request.
func TestAnswerBeforeTheBody(t *testing.T) {
	r := newRig(t, func(_ *webpb.RequestHead, stream webpb.Web_ServeServer, _ []byte) error {
		return answer(stream, 403, "no")
	})
	body, feed := io.Pipe()
	go func() {
		_, _ = feed.Write(make([]byte, 100<<10)) // and no end
	}()
	defer feed.Close()
	if got, text := r.ask(t, "POST", "/a/b", body); got.StatusCode != 403 || text != "no" {
		t.Errorf("%d %q", got.StatusCode, text)
	}
	if got, _ := r.ask(t, "GET", "/a/b", nil); got.StatusCode != 403 {
		t.Errorf("then %d", got.StatusCode)
	}
}

// TestAnswerInParts has each part of an answer come before the next one is made.
func TestAnswerInParts(t *testing.T) {
	next := make(chan string)
	r := newRig(t, func(_ *webpb.RequestHead, stream webpb.Web_ServeServer, _ []byte) error {
		if err := answer(stream, 200, "first\n", "Content-Type", "text/event-stream"); err != nil {
			return err
		}
		for text := range next {
			if err := stream.Send(&webpb.Response{Body: []byte(text)}); err != nil {
				return err
			}
		}
		return nil
	})
	got, err := r.Client().Get(r.URL + "/a/b")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	lines := bufio.NewReader(got.Body)
	for _, want := range []string{"first\n", "second\n", "third\n"} {
		if line, err := lines.ReadString('\n'); err != nil || line != want {
			t.Fatalf("got %q, %v", line, err)
		}
		if want != "third\n" {
			next <- map[string]string{"first\n": "second\n", "second\n": "third\n"}[want]
		}
	}
	close(next)
	if _, err := lines.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// TestClientGoesAway has the plugin's call end with the client, before and in the answer.
func TestClientGoesAway(t *testing.T) {
	for _, begun := range []bool{false, true} {
		began, ended := make(chan struct{}, 1), make(chan error, 1)
		r := newRig(t, func(_ *webpb.RequestHead, stream webpb.Web_ServeServer, _ []byte) error {
			if begun {
				_ = answer(stream, 200, "x")
			}
			began <- struct{}{}
			<-stream.Context().Done()
			ended <- stream.Context().Err()
			return stream.Context().Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-began
			cancel()
		}()
		q, _ := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+"/a/b", nil)
		if got, err := r.Client().Do(q); err == nil {
			_, err = io.ReadAll(got.Body)
			_ = got.Body.Close()
			if err == nil {
				t.Error("the answer is whole")
			}
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("begun %t: the plugin's call ended with %v", begun, err)
		}
	}
}

// TestPluginDiesInTheMiddle has the client see that the answer is not whole.
func TestPluginDiesInTheMiddle(t *testing.T) {
	r := newRig(t, func(_ *webpb.RequestHead, stream webpb.Web_ServeServer, _ []byte) error {
		if err := answer(stream, 200, "half"); err != nil {
			return err
		}
		return status.Error(codes.Internal, "died")
	})
	got, err := r.Client().Get(r.URL + "/a/b")
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if text, err := io.ReadAll(got.Body); err == nil || string(text) != "half" {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	many := make([]string, 0, 2200)
	for i := range 1100 {
		many = append(many, fmt.Sprint("X-", i), strings.Repeat("v", 60))
	}
	for _, test := range []struct {
		name  string
		serve func(webpb.Web_ServeServer) error
		code  int
		text  string
	}{
		{"an error", func(webpb.Web_ServeServer) error { return status.Error(codes.NotFound, "lost") }, 418, "refused: lost"},
		{"nothing", func(webpb.Web_ServeServer) error { return nil }, 502, "P: the plugin's answer does not begin with a valid head"},
		{"no head", func(s webpb.Web_ServeServer) error { return s.Send(&webpb.Response{Body: []byte("x")}) }, 502, "its status is 0"},
		{"informational", func(s webpb.Web_ServeServer) error { return answer(s, 101, "") }, 502, "its status is 101"},
		{"a status beyond", func(s webpb.Web_ServeServer) error { return answer(s, 600, "") }, 502, "its status is 600"},
		{"huge headers", func(s webpb.Web_ServeServer) error { return answer(s, 200, "", many...) }, 502, "its headers have more than 65536 bytes"},
		{"silence", func(s webpb.Web_ServeServer) error { <-s.Context().Done(); return s.Context().Err() }, 504, "P did not begin to answer in time"},
	} {
		r := newRig(t, func(_ *webpb.RequestHead, stream webpb.Web_ServeServer, _ []byte) error { return test.serve(stream) })
		if test.name == "silence" {
			r.handler.AnswerTime = time.Millisecond
		}
		if got, text := r.ask(t, "GET", "/a/b", nil); got.StatusCode != test.code || !strings.Contains(text, test.text) {
			t.Errorf("%s: %d %q", test.name, got.StatusCode, text)
		}
	}
}

// TestAnswersWithoutBody has nothing sent after a head that has no body.
func TestAnswersWithoutBody(t *testing.T) {
	r := newRig(t, func(h *webpb.RequestHead, stream webpb.Web_ServeServer, _ []byte) error {
		if h.GetMethod() == http.MethodHead {
			return answer(stream, 200, "xx", "Content-Length", "2")
		}
		return answer(stream, 204, "xx")
	})
	if got, text := r.ask(t, "HEAD", "/a/b", nil); got.StatusCode != 200 || text != "" || got.ContentLength != 2 {
		t.Errorf("HEAD: %d %q, %d", got.StatusCode, text, got.ContentLength)
	}
	if got, text := r.ask(t, "GET", "/a/b", nil); got.StatusCode != 204 || text != "" {
		t.Errorf("GET: %d %q", got.StatusCode, text)
	}
}

// TestBodyThatDoesNotCome has the plugin's call ended, and the client told why.
func TestBodyThatDoesNotCome(t *testing.T) {
	begun, ended := make(chan struct{}, 2), make(chan error, 1)
	r := newRig(t, func(_ *webpb.RequestHead, stream webpb.Web_ServeServer, first []byte) error {
		begun <- struct{}{}
		_, _, err := rest(stream, first)
		ended <- err
		return err
	})
	if got, text := r.ask(t, "POST", "/a/b", bytes.NewReader(make([]byte, 1<<20+1))); got.StatusCode != 413 || !strings.Contains(text, "more than 1048576 bytes") {
		t.Errorf("too long: %d %q", got.StatusCode, text)
	}
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Errorf("too long: the plugin read %v", err)
	}
	<-begun
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "POST /a/b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	<-begun
	_ = conn.Close()
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Errorf("cut off: the plugin read %v", err)
	}
}

// TestAddressThatIsNotText is refused before the plugin hears of it.
func TestAddressThatIsNotText(t *testing.T) {
	r := newRig(t, func(*webpb.RequestHead, webpb.Web_ServeServer, []byte) error { panic("asked") })
	r.handler.Path = "\xff"
	if got, text := r.ask(t, "GET", "/%ff", nil); got.StatusCode != 400 || !strings.Contains(text, "not UTF-8") {
		t.Errorf("%d %q", got.StatusCode, text)
	}
}
