package lenient

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// What a request with a usual header costs more.
func BenchmarkHostLine(b *testing.B) {
	sent := []byte(request("Host: 127.0.0.1@9998", "User-Agent: curl/8.5.0", "Accept: */*", "Content-Type: application/json", "Content-Length: 60") + strings.Repeat("x", 60))
	b.ReportAllocs()
	var s headerScanner
	for b.Loop() {
		s.scan(sent)
	}
}

// What a message without a mask costs, beside the read from the connection.
func BenchmarkFrame(b *testing.B) {
	sent := []byte(frame(strings.Repeat("x", 60)))
	client := bytes.NewReader(sent)
	conn := NewFrameConn(pipeEnd{Reader: client}, nil)
	p := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		client.Reset(sent)
		if _, err := conn.Read(p); err != nil && !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}
