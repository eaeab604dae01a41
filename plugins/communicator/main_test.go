package communicator

import (
	"io"
	"net"
	"os"
	"testing"

	"dormouse/internal/leaktest"
)

// visit makes the test binary a client of the socket that it names.
const visit = "DORMOUSE_TEST_VISIT"

func TestMain(m *testing.M) {
	if path := os.Getenv(visit); path != "" {
		visitor(path)
		return
	}
	if path := os.Getenv(callAll); path != "" {
		callAllMethods(path)
		return
	}
	os.Exit(leaktest.Run(m, "google.golang.org/grpc/"))
}

// visitor prints what it is told, or why it is told nothing.
func visitor(path string) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		_, _ = io.WriteString(os.Stdout, err.Error())
		return
	}
	defer conn.Close()
	_, _ = io.Copy(os.Stdout, conn) // a refusal is a closed connection
}
