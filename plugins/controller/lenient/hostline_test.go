package lenient

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// request is one request, of which the header ends with the lines given.
func request(lines ...string) string {
	return "POST /jsonrpc HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// Only the first "@" of a header Host is changed, however the bytes arrive.
func TestHostLine(t *testing.T) {
	const body = "x\r\n\r\nGET / HTTP/1.1\r\nHost: a@b\r\n\r\n"
	for _, tt := range []struct{ name, sent, want string }{
		{"port", request("Host: 127.0.0.1@9998"), request("Host: 127.0.0.1:9998")},
		{"no space, another case", request("hOST:a@1"), request("hOST:a:1")},
		{"bare line ends", "GET / HTTP/1.1\nHost: a@1\n\n", "GET / HTTP/1.1\nHost: a:1\n\n"},
		{"second @", request("Host: a@b@c"), request("Host: a:b@c")},
		{"two Hosts", request("Host: a@1", "Host: b@2"), request("Host: a:1", "Host: b:2")},
		{"long Host", request("Host: " + strings.Repeat("a", 200) + "@1"), request("Host: " + strings.Repeat("a", 200) + ":1")},
		{"no port", request("Host: a"), request("Host: a")},
		{"empty Host", request("Host:"), request("Host:")},
		{"target", "GET http://u@h/ HTTP/1.1\r\n\r\n", "GET http://u@h/ HTTP/1.1\r\n\r\n"},
		{"target like a header", "Host: a@b HTTP/1.1\r\n\r\n", "Host: a@b HTTP/1.1\r\n\r\n"},
		{"other headers", request("From: a@b", "X-Host: a@b", "Hosts: a@b"), request("From: a@b", "X-Host: a@b", "Hosts: a@b")},
		{"kept alive", request("Host: a@1") + request("Host: b@2"), request("Host: a:1") + request("Host: b:2")},
		{"empty lines between", request("Host: a@1") + "\r\n\r\n" + request("Host: b@2"), request("Host: a:1") + "\r\n\r\n" + request("Host: b:2")},
		{"body", request("content-LENGTH:  34 ") + body + request("Host: b@2"), request("content-LENGTH:  34 ") + body + request("Host: b:2")},
		{"length twice", request("Content-Length: 34", "Content-Length: 34") + body + request("Host: b@2"), request("Content-Length: 34", "Content-Length: 34") + body + request("Host: b:2")},
		{"empty body", request("Content-Length: 0") + request("Host: b@2"), request("Content-Length: 0") + request("Host: b:2")},
		{"chunks", request("Transfer-Encoding: chunked", "Host: a@1") + "22\r\n" + body + "\r\n0\r\n\r\n", request("Transfer-Encoding: chunked", "Host: a:1") + "22\r\n" + body + "\r\n0\r\n\r\n"},
		{"websocket", request("Host: a@1", "Upgrade: websocket") + body, request("Host: a:1", "Upgrade: websocket") + body},
		{"length that is none", request("Content-Length: +34") + body, request("Content-Length: +34") + body},
		{"long length", request("Content-Length: "+strings.Repeat("0", 90)+"34") + body, request("Content-Length: "+strings.Repeat("0", 90)+"34") + body},
		{"length on the next line", request("Content-Length:\r\n 34") + body, request("Content-Length:\r\n 34") + body},
		{"largest length", request("Content-Length: 9223372036854775807") + body, request("Content-Length: 9223372036854775807") + body},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for size := 1; size <= len(tt.sent); size++ {
				if got := scanned([]byte(tt.sent), size); got != tt.want {
					t.Fatalf("in pieces of %d bytes (-want +got):\n%s", size, cmp.Diff(tt.want, got))
				}
			}
		})
	}
}

// scanned is what a headerScanner makes of bytes that arrive in pieces of that size.
func scanned(sent []byte, size int) string {
	sent = bytes.Clone(sent)
	var s headerScanner
	for rest := sent; len(rest) > 0; {
		n := min(size, len(rest))
		s.scan(rest[:n])
		rest = rest[n:]
	}
	return string(sent)
}

// A HostConn hides nothing of what a server needs of its connection.
func TestHostConn(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := Listener{inner}
	defer listener.Close()
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server := accepted.(*HostConn) //nolint:errcheck // so it is documented
	defer server.Close()
	if _, ok := server.NetConn().(*net.TCPConn); !ok {
		t.Errorf("NetConn returned a %T", server.NetConn())
	}
	if n, err := server.ReadFrom(strings.NewReader("answer")); n != 6 || err != nil {
		t.Errorf("ReadFrom returned %d, %v", n, err)
	}
	if err := server.CloseWrite(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(client); string(got) != "answer" || err != nil {
		t.Errorf("the client read %q, %v", got, err)
	}
	if _, err := io.WriteString(client, request("Host: a@1")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(request("Host: a@1")))
	if _, err := io.ReadFull(server, got); string(got) != request("Host: a:1") || err != nil {
		t.Errorf("the server read %q, %v", got, err)
	}
}

// Whatever a client sends, and in whatever pieces, net/http reads the same requests with a
// headerScanner before it as without, but for the "@" in Host.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		request("Host: a@1", "Content-Length: 3") + "abc" + request("Host: b@2"),
		request("Host: a@1", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n" + request("Host: b@2"),
		request("Host: a@1", "Content-Length: 3", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n" + request("Host: b@2"),
		"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\nHost: a@b" + request("Host: b@2"),
		request("Content-Length:\r\n\t20") + "G / HTTP/1.1\nHost:@\n\n",
		request("Content-Length: 1 ", "Content-Length: 1") + "a\n\n" + request("Host: b@2"),
		request("Content-Length : 20") + "G / HTTP/1.1\nHost:@\n\n",
		"\n\nGET / HTTP/1.1\nHost:a@1\n\n", "GET http://u@h/ HTTP/1.1\r\nHost: b@2\r\n\r\n", request("\rHost: a@b"), request(" Host: a@b"),
	} {
		f.Add([]byte(seed), 1)
		f.Add([]byte(seed), 7)
	}
	f.Fuzz(func(t *testing.T, sent []byte, size int) {
		plain := bufio.NewReader(bytes.NewReader(sent))
		lenient := bufio.NewReader(strings.NewReader(scanned(sent, max(size, 1))))
		for {
			want, wantErr := readRequest(plain)
			got, gotErr := readRequest(lenient)
			if (wantErr == nil) != (gotErr == nil) {
				t.Fatalf("%q: got the error %v, want %v", sent, gotErr, wantErr)
			}
			if wantErr != nil {
				return
			}
			if got.Host != want.Host && got.Host != strings.Replace(want.Host, "@", ":", 1) {
				t.Fatalf("%q: got Host %q, want %q", sent, got.Host, want.Host)
			}
			got.Host = want.Host
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%q (-want +got):\n%s", sent, diff)
			}
		}
	})
}

// readSame is what a server reads of a request.
type readSame struct {
	Method, Target, Host string
	Header               http.Header
	Body                 string
}

// readRequest reads a whole request as http.Server does.
func readRequest(from *bufio.Reader) (readSame, error) {
	r, err := http.ReadRequest(from)
	if err != nil {
		return readSame{}, err
	}
	for name := range r.Header {
		if strings.Contains(name, " ") {
			return readSame{}, errors.New("http.Server refuses a space in a header's name")
		}
	}
	body, err := io.ReadAll(r.Body)
	return readSame{r.Method, r.RequestURI, r.Host, r.Header, string(body)}, err
}
