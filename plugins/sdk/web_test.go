package sdk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/shell/webpb"
)

// serving answers HTTP requests, and is nothing else.
type serving struct {
	bare
	http.HandlerFunc
}

func (s *serving) Web() http.Handler { return s }

// exchange sends the parts of a request, and returns the parts of the answer.
func exchange(t *testing.T, p Plugin, parts ...*webpb.Request) ([]*webpb.Response, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := webpb.NewWebClient(start(t, p)).Serve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		if err := stream.Send(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var answer []*webpb.Response
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answer, nil
		}
		if err != nil {
			return answer, err
		}
		answer = append(answer, part)
	}
}

// flush sends what a handler has written.
func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// headers returns the headers of an answer.
func headers(head *webpb.ResponseHead) http.Header {
	all := make(http.Header)
	for _, h := range head.GetHeaders() {
		all.Add(h.GetName(), string(h.GetValue()))
	}
	return all
}

func TestWebRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	p := &serving{HandlerFunc: func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		http.Error(w, "sorry", http.StatusConflict)
	}}
	answer, err := exchange(t, p,
		&webpb.Request{Head: &webpb.RequestHead{
			Method: "PUT", Path: "a b/c", Query: "q=1", Host: "localhost:9998", Remote: "127.0.0.1:7", ContentLength: -1,
			Headers: []*webpb.Header{{Name: "X-A", Value: []byte("1")}, {Name: "X-A", Value: []byte("2")}},
		}, Body: []byte("on")},
		&webpb.Request{}, &webpb.Request{Body: []byte("e")})
	if err != nil || len(answer) != 1 {
		t.Fatalf("%v, %v", answer, err)
	}
	if got.Method != "PUT" || got.URL.Path != "/a b/c" || got.RequestURI != "/a%20b/c?q=1" || got.FormValue("q") != "1" || got.Host != "localhost:9998" ||
		got.RemoteAddr != "127.0.0.1:7" || len(got.Header["X-A"]) != 2 || string(body) != "one" {
		t.Errorf("request %+v with %q", got, body)
	}
	h := headers(answer[0].GetHead())
	if answer[0].GetHead().GetStatus() != 409 || string(answer[0].GetBody()) != "sorry\n" || h.Get("Content-Length") != "6" || !strings.HasPrefix(h.Get("Content-Type"), "text/plain") {
		t.Errorf("answer %v", answer[0])
	}
}

func TestWebAnswerInParts(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 3*webBuffer+5)
	for name, test := range map[string]struct {
		serve http.HandlerFunc
		sizes []int
	}{
		"nothing": {func(http.ResponseWriter, *http.Request) {}, []int{0}},
		"flushed": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("a"))
			flush(w)
			_, _ = w.Write([]byte("bc"))
		}, []int{1, 2}},
		"flushed only": {func(w http.ResponseWriter, _ *http.Request) { flush(w); flush(w) }, []int{0}},
		"by a controller": {func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
		}, []int{0}},
		"written": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(long) }, []int{webBuffer, webBuffer, webBuffer, 5}},
		"copied": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("abc"))
			_, _ = io.Copy(w, io.LimitReader(bytes.NewReader(long), int64(len(long))))
		}, []int{webBuffer, webBuffer, webBuffer, 8}},
		"two statuses": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(103)
			w.WriteHeader(200)
			w.WriteHeader(500)
		}, []int{0}},
	} {
		answer, err := exchange(t, &serving{HandlerFunc: test.serve}, &webpb.Request{Head: &webpb.RequestHead{Method: "GET"}})
		if err != nil || len(answer) != len(test.sizes) {
			t.Errorf("%s: %d parts, %v", name, len(answer), err)
			continue
		}
		for i, part := range answer {
			if len(part.GetBody()) != test.sizes[i] || (part.GetHead() != nil) != (i == 0) || i == 0 && part.GetHead().GetStatus() != 200 {
				t.Errorf("%s: part %d has %d bytes, head %v", name, i, len(part.GetBody()), part.GetHead())
			}
		}
	}
}

func TestWebErrors(t *testing.T) {
	head := &webpb.Request{Head: &webpb.RequestHead{Method: "GET"}}
	for name, test := range map[string]struct {
		serve http.HandlerFunc
		parts []*webpb.Request
		want  codes.Code
	}{
		"no head":    {func(http.ResponseWriter, *http.Request) {}, []*webpb.Request{{}}, codes.InvalidArgument},
		"broken off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, []*webpb.Request{head}, codes.Aborted},
		"a panic":    {func(http.ResponseWriter, *http.Request) { panic("oops") }, []*webpb.Request{head}, codes.Internal},
	} {
		if answer, err := exchange(t, &serving{HandlerFunc: test.serve}, test.parts...); status.Code(err) != test.want || len(answer) > 0 {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
	}
	stream, err := webpb.NewWebClient(connect(t, &serving{})).Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("before Initialize: %v", err)
	}
}

// TestWebEndsWithItsClient has a handler see that the client has gone, in its context and body.
func TestWebEndsWithItsClient(t *testing.T) {
	ended := make(chan error, 2)
	p := &serving{HandlerFunc: func(w http.ResponseWriter, r *http.Request) {
		flush(w)
		<-r.Context().Done()
		ended <- r.Context().Err()
		_, err := r.Body.Read(make([]byte, 1))
		ended <- err
	}}
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := webpb.NewWebClient(start(t, p)).Serve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&webpb.Request{Head: &webpb.RequestHead{Method: "POST", ContentLength: 5}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the context ended with %v", err)
	}
	if err := <-ended; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the body ended with %v", err)
	}
}
