package remote

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/leaktest"
	"dormouse/internal/queue"
	"dormouse/internal/store"
	"dormouse/plugins/flows"
	"dormouse/shell/shellpb"
)

// natsProgram is where make setup-test puts the server.
const natsProgram = "/usr/local/lib/dormouse/nats/nats-server"

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

// server is a NATS server, a child process that a test may kill and start again.
type server struct {
	t      *testing.T
	config string
	url    string // known after the first start
	cmd    *exec.Cmd
}

// startServer starts a server with streams on disk and what else the lines of its configuration
// say.
func startServer(t *testing.T, lines ...string) *server {
	t.Helper()
	if _, err := os.Stat(natsProgram); err != nil {
		hibernatetest.SkipOrFail(t, fmt.Errorf("make setup-test builds a NATS server: %w", err))
	}
	dir := t.TempDir()
	s := &server{t: t, config: filepath.Join(dir, "nats.conf")}
	s.configure("127.0.0.1:-1", dir, lines...)
	t.Cleanup(s.kill)
	s.start()
	s.configure(strings.TrimPrefix(s.url, "nats://"), dir, lines...) // the port stays
	return s
}

func (s *server) configure(listen, dir string, lines ...string) {
	s.t.Helper()
	text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q }\n%s\n", listen, dir, strings.Join(lines, "\n"))
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// start returns when the server is ready.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(natsProgram, "-c", s.config)
	out, err := s.cmd.StderrPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		defer close(ready)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if _, address, found := strings.Cut(lines.Text(), "Listening for client connections on "); found && s.url == "" {
				s.url = "nats://" + address
			}
			if strings.Contains(lines.Text(), "Server is ready") {
				ready <- true
			}
			if strings.Contains(lines.Text(), "[FTL]") || strings.Contains(lines.Text(), "nats-server:") {
				fmt.Fprintln(os.Stderr, lines.Text())
			}
		}
	}()
	select {
	case is := <-ready:
		if !is {
			s.t.Fatal("the NATS server has ended")
		}
	case <-time.After(time.Minute):
		s.t.Fatal("the NATS server is not ready within a minute")
	}
}

// kill ends the server at once, if it runs.
func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// makeStream makes the stream "frames".
func (s *server) makeStream(options ...nats.Option) jetstream.Stream {
	s.t.Helper()
	conn, err := nats.Connect(s.url, options...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	stream, err := js.CreateStream(s.t.Context(), jetstream.StreamConfig{Name: "frames", Subjects: []string{"tv.frames"}})
	if err != nil {
		s.t.Fatal(err)
	}
	return stream
}

// host is the part of a host that passes messages on: queues, one topic that is bound, and a
// flow "sink" that takes it.
type host struct {
	t       *testing.T
	queues  *queue.Queues
	remotes *Remotes
	end     func()

	mu      sync.Mutex
	takes   bool
	changed chan struct{}
}

func newHost(t *testing.T, config configs.Remote) *host {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, changed: make(chan struct{})}
	if h.queues, err = queue.Open(s, queue.Options{}); err != nil {
		t.Fatal(err)
	}
	config.Topic, config.Subject = "frames", "tv.frames"
	h.remotes = New(Options{
		Remotes: []configs.Remote{config}, Queues: h.queues, Log: zerolog.New(zerolog.NewTestWriter(t)),
		Flows: h,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.remotes.Run(ctx)
	}()
	h.end = sync.OnceFunc(func() {
		cancel()
		<-done
		_ = s.Close()
	})
	t.Cleanup(h.end)
	return h
}

// TakesTopic reports what take has said.
func (h *host) TakesTopic(string) (bool, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.takes, h.changed
}

// PublishToTopic puts the message into the queue "sink".
func (h *host) PublishToTopic(ctx context.Context, topic string, m *shellpb.Message) (queue.Receipt, error) {
	return h.queues.Publish(ctx, queue.Message{
		ID: m.GetId(), Scope: topic, Header: fmt.Append(nil, m.GetContentType(), m.GetMetadata()), Body: m.GetBody(),
	}, "sink")
}

// take says whether a flow of the host takes the topic from now on.
func (h *host) take(takes bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.takes = takes
	close(h.changed)
	h.changed = make(chan struct{})
}

// send puts a message into the queue that leads away from this host.
func (h *host) send(m queue.Message) {
	h.t.Helper()
	name, bound := h.remotes.QueueOf("frames")
	if !bound {
		h.t.Fatal("the topic is not bound")
	}
	if _, err := h.queues.Publish(h.t.Context(), m, name); err != nil {
		h.t.Fatal(err)
	}
}

// taken returns the next message that came to the flow.
func (h *host) taken() queue.Message {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	one, err := h.queues.Take(ctx, "sink")
	if err == nil {
		err = one.Finish(ctx)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return one.Message
}

// waitFor polls the status until it is as wanted.
func (h *host) waitFor(what string, wanted func(flows.RemoteTopic) bool) {
	h.t.Helper()
	var s []flows.RemoteTopic
	for range 3000 {
		var err error
		if s, err = h.remotes.Topics(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
		if wanted(s[0]) {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	h.t.Fatalf("the status never became %s: %+v", what, s[0])
}
