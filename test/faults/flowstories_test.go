package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dormouse/hibernate/hibernatetest"
)

// A message over which its plugin dies three times is a dead letter, and those behind it go on.
func TestMessageThatKillsThreeTimes(t *testing.T) {
	runBeside(t)
	s := newFlowSite(t)
	h := s.fresh()
	s.install(h, s.linesPackage("gated", "1.0.0", "gated"))
	for _, text := range []string{"die", "live"} {
		if status, answer, err := post(h, text, text); err != nil || status != http.StatusAccepted {
			t.Fatalf("%s: %d %s, %v", text, status, answer, err)
		}
	}
	deaths := 0
	until(t, "the other message to come through", func() bool {
		var all []struct{ State string }
		h.must("Controller.status@Lines", nil, &all)
		if all[0].State == "deactivated" {
			deaths++
			h.must("Controller.activate", map[string]any{"callsign": "Lines"}, nil)
		}
		text, err := os.ReadFile(s.kept)
		return err == nil && string(text) == "LIVE\n"
	})
	var letters []struct {
		Kills int
		Why   string
	}
	h.must("Flows.dead", map[string]any{"flow": "texts"}, &letters)
	if deaths != 3 || len(letters) != 1 || letters[0].Kills != 3 || letters[0].Why == "" {
		t.Errorf("after %d deaths the dead letters are %+v", deaths, letters)
	}
	h.end()
}

// What all flows together may hold is the bound of each: more is refused with 507 and the time
// after which to try again, and taken once there is room.
func TestTotalBoundOfFlows(t *testing.T) {
	runBeside(t)
	s := newFlowSite(t)
	s.configure(packagesConfig + "[flows]\nmax-messages = 2\n")
	h := s.startWithLines()
	h.must("Flows.pause", map[string]any{"flow": "texts"}, nil)
	for i, want := range []int{http.StatusAccepted, http.StatusAccepted, http.StatusInsufficientStorage} {
		text := fmt.Sprint("message ", i)
		status, answer, err := post(h, text, text)
		if err != nil || status != want {
			t.Errorf("%s: %d %s, %v", text, status, answer, err)
		}
	}
	h.must("Flows.run", map[string]any{"flow": "texts"}, nil)
	drained(h)
	if status, answer, err := post(h, "message 2", "message 2"); err != nil || status != http.StatusAccepted {
		t.Errorf("once there is room: %d %s, %v", status, answer, err)
	}
	drained(h)
	if text := string(read(t, s.kept)); text != "MESSAGE 0\nMESSAGE 1\nMESSAGE 2\n" {
		t.Errorf("the sink has %q", text)
	}
	h.end()
}

// What becomes of a message whose topic no flow takes is as the key unrouted says.
func TestUnroutedMessages(t *testing.T) {
	t.Parallel()
	for unrouted, want := range map[string]struct {
		status int
		kept   string
	}{
		"error":  {http.StatusConflict, ""},
		"drop":   {http.StatusAccepted, ""},
		"shouts": {http.StatusAccepted, "lost\n"},
	} {
		t.Run(unrouted, func(t *testing.T) {
			runBeside(t)
			s := newFlowSite(t)
			path := filepath.Join(s.source, "plugin.toml")
			before := "name = \"texts\"\nkind = \"source\"\ngives = [\"lines\"]\n"
			after := strings.Replace(before, `["lines"]`, `["nowhere"]`, 1) + fmt.Sprintf("unrouted = %q\n", unrouted)
			write(t, path, []byte(strings.Replace(string(read(t, path)), before, after, 1)))
			h := s.startWithLines()
			status, answer, err := post(h, "lost", "lost")
			if err != nil || status != want.status || status == http.StatusConflict && !strings.Contains(answer, "no flow takes the topic nowhere") {
				t.Errorf("the answer is %d %s, %v", status, answer, err)
			}
			drained(h)
			if text, _ := os.ReadFile(s.kept); string(text) != want.kept {
				t.Errorf("the sink has %q, want %q", text, want.kept)
			}
			if figures := flowsOf(h)["texts"]; figures.Dead != 0 {
				t.Errorf("it is %+v", figures)
			}
			h.end()
		})
	}
}

// natsServer is a NATS server with a stream on the disk, which a test may kill and start again.
type natsServer struct {
	t       *testing.T
	config  string
	address string // known after the first start
	cmd     *exec.Cmd
}

// startNATS starts a server whose stream "frames" takes the subject tv.frames.
func startNATS(t *testing.T) *natsServer {
	t.Helper()
	dir := t.TempDir()
	s := &natsServer{t: t, config: filepath.Join(dir, "nats.conf")}
	configure := func(listen string) {
		write(t, s.config, fmt.Appendf(nil, "listen: %q\njetstream { store_dir: %q, sync_interval: always }\n", listen, dir))
	}
	configure("127.0.0.1:-1")
	t.Cleanup(s.kill)
	s.start()
	configure(s.address)
	s.makeStream()
	return s
}

// start returns when the server is ready.
func (s *natsServer) start() {
	s.t.Helper()
	const program = "/usr/local/lib/dormouse/nats/nats-server"
	if _, err := os.Stat(program); err != nil {
		hibernatetest.SkipOrFail(s.t, fmt.Errorf("make setup-test builds a NATS server: %w", err))
	}
	var log journal
	s.cmd = exec.Command(program, "-c", s.config)
	s.cmd.Stderr = &log
	must(s.t, s.cmd.Start())
	until(s.t, "the NATS server to be ready", func() bool { return strings.Contains(log.String(), "Server is ready") })
	if _, rest, found := strings.Cut(log.String(), "Listening for client connections on "); found {
		s.address, _, _ = strings.Cut(rest, "\n")
	}
}

// kill ends the server at once, if it runs.
func (s *natsServer) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// makeStream makes the stream, by NATS's protocol of lines.
func (s *natsServer) makeStream() {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address)
	must(s.t, err)
	defer conn.Close()
	must(s.t, conn.SetDeadline(time.Now().Add(patience)))
	stream := `{"name":"frames","subjects":["tv.frames"],"storage":"file","duplicate_window":600000000000,"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"num_replicas":1}`
	_, err = fmt.Fprintf(conn, "CONNECT {\"verbose\":false}\r\nSUB made 1\r\nPUB $JS.API.STREAM.CREATE.frames made %d\r\n%s\r\n", len(stream), stream)
	must(s.t, err)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "{") { // the answer follows a line "MSG …"
			var answer struct{ Error json.RawMessage }
			if err := json.Unmarshal(lines.Bytes(), &answer); err != nil || answer.Error != nil {
				s.t.Fatalf("the stream was not made: %s", lines.Text())
			}
			return
		}
	}
	s.t.Fatalf("the stream was not made: %v", lines.Err())
}

// A topic that is bound to a stream leads through a real server, which is killed and started again
// in the middle: messages are taken meanwhile, and each comes out once.
func TestFlowsThroughNATS(t *testing.T) {
	runBeside(t)
	nats := startNATS(t)
	s := newFlowSite(t)
	s.configure(packagesConfig + fmt.Sprintf("[[flows.remote]]\ntopic = \"lines\"\nnats = \"nats://%s\"\nsubject = \"tv.frames\"\n", nats.address))
	h := s.startWithLines()
	const count = 30
	for i := range count {
		if i == count/3 {
			nats.kill()
		}
		text := fmt.Sprint("message ", i)
		if status, answer, err := post(h, text, text); err != nil || status != http.StatusAccepted {
			t.Errorf("%s: %d %s, %v", text, status, answer, err)
		}
	}
	var status struct {
		Remotes []struct {
			Connected bool
			Messages  int
			Why       string
		}
	}
	until(t, "the host to say that the server is away", func() bool {
		h.must("Flows.status", nil, &status)
		return len(status.Remotes) == 1 && status.Remotes[0].Messages > 0 && status.Remotes[0].Why != ""
	})
	nats.start()
	var lines []string
	until(t, "all messages to come out", func() bool {
		text, _ := os.ReadFile(s.kept)
		lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		return len(lines) >= count
	})
	for i := range count {
		want, times := fmt.Sprint("MESSAGE ", i), 0
		for _, line := range lines {
			if line == want {
				times++
			}
		}
		if times != 1 {
			t.Errorf("%s came out %d times", want, times)
		}
	}
	h.must("Flows.status", nil, &status)
	if r := status.Remotes[0]; !r.Connected || r.Messages != 0 {
		t.Errorf("in the end it is %+v", r)
	}
	h.end()
}
