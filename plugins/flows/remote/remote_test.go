package remote

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"dormouse/configs"
	"dormouse/internal/queue"
	"dormouse/plugins/flows"
	"dormouse/shell/shellpb"
)

// What one host sends another takes, with all its parts; a message of another program gets an
// id from its place and metadata from its headers.
func TestPassedOn(t *testing.T) {
	s := startServer(t)
	stream := s.makeStream()
	from, to := newHost(t, configs.Remote{NATS: s.url}), newHost(t, configs.Remote{NATS: s.url})
	to.take(true)
	header, err := proto.Marshal(&shellpb.Message{ContentType: "image/png", Metadata: map[string]string{"camera\n:": "2 ü"}})
	if err != nil {
		t.Fatal(err)
	}
	from.send(queue.Message{ID: "one", Header: header, Body: []byte("pixels")})
	got := to.taken()
	if want := "image/png map[camera\n::2 ü]"; got.ID != "one" || string(got.Body) != "pixels" || string(got.Header) != strings.Replace(want, " ", "", 1) {
		t.Errorf("took %q with header %q and body %q", got.ID, got.Header, got.Body)
	}

	conn, err := nats.Connect(s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other := nats.NewMsg("tv.frames")
	other.Header.Set("Room", "kitchen")
	other.Data = []byte("plain")
	if err := conn.PublishMsg(other); err != nil {
		t.Fatal(err)
	}
	if got := to.taken(); got.ID != "frames:2" || string(got.Header) != "map[Room:kitchen]" || string(got.Body) != "plain" {
		t.Errorf("took %q with header %q and body %q", got.ID, got.Header, got.Body)
	}
	from.waitFor("idle", func(s flows.RemoteTopic) bool { return s.Connected && s.Messages == 0 && s.Why == "" })
	to.take(false)
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 2 {
		t.Errorf("the stream has %+v, %v", info, err)
	}
}

// The server is killed again and again while messages are passed on. Each comes once.
func TestServerIsKilled(t *testing.T) {
	s := startServer(t)
	s.makeStream()
	from, to := newHost(t, configs.Remote{NATS: s.url}), newHost(t, configs.Remote{NATS: s.url})
	to.take(true)
	const n = 120
	ids := make(map[string]bool)
	for i := range n {
		from.send(queue.Message{ID: fmt.Sprint("id", i), Body: []byte("x")})
	}
	for i := range n {
		if i == 20 || i == 70 {
			s.kill()
			from.waitFor("told", func(s flows.RemoteTopic) bool {
				return !s.Connected && strings.Contains(s.Why, "cannot reach the NATS server")
			})
			s.start()
		}
		id := to.taken().ID
		if ids[id] {
			t.Errorf("%s came twice", id)
		}
		ids[id] = true
	}
	from.waitFor("idle", func(s flows.RemoteTopic) bool { return s.Messages == 0 && s.Why == "" })
	if left, err := to.queues.Stats(t.Context(), "sink"); left.Messages != 0 || err != nil {
		t.Errorf("%d messages came too many, %v", left.Messages, err)
	}
}

// A message that was sent before is in the stream once.
func TestSentTwice(t *testing.T) {
	s := startServer(t)
	stream := s.makeStream()
	h := newHost(t, configs.Remote{NATS: s.url})
	h.waitFor("connected", func(s flows.RemoteTopic) bool { return s.Connected })
	b := h.remotes.bindings[0]
	for range 2 { // as by a host that ended before it could finish the message
		if err := b.send(t.Context(), queue.Message{ID: "one"}); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 1 {
		t.Errorf("the stream has %+v, %v", info.State, err)
	}
}

// Two hosts share the messages of one stream: each has some, none comes to both.
func TestShared(t *testing.T) {
	s := startServer(t)
	s.makeStream()
	from := newHost(t, configs.Remote{NATS: s.url})
	const n = 8 * someMessages
	for i := range n {
		from.send(queue.Message{ID: fmt.Sprint("id", i)})
	}
	takers := []*host{newHost(t, configs.Remote{NATS: s.url}), newHost(t, configs.Remote{NATS: s.url})}
	for _, to := range takers {
		to.take(true)
	}
	came := func(to *host) int {
		got, err := to.queues.Stats(t.Context(), "sink")
		if err != nil {
			t.Fatal(err)
		}
		return int(got.Messages)
	}
	from.waitFor("empty", func(s flows.RemoteTopic) bool { return s.Messages == 0 && came(takers[0])+came(takers[1]) >= n })
	if a, b := came(takers[0]), came(takers[1]); a == 0 || b == 0 || a+b != n {
		t.Errorf("one host has %d, the other %d of %d", a, b, n)
	}
	var ids []string
	for _, to := range takers {
		for range came(to) {
			ids = append(ids, to.taken().ID)
		}
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != n {
		t.Errorf("some of %v came twice", ids)
	}
}

// Without a stream, messages wait here and say why; a host without a flow for the topic takes
// none.
func TestWaits(t *testing.T) {
	s := startServer(t)
	h := newHost(t, configs.Remote{NATS: s.url})
	h.send(queue.Message{ID: "one"})
	h.waitFor("told", func(s flows.RemoteTopic) bool {
		return s.Messages == 1 && strings.Contains(s.Why, "no stream of the NATS server takes the subject tv.frames")
	})
	stream := s.makeStream()
	h.waitFor("idle", func(s flows.RemoteTopic) bool { return s.Messages == 0 && s.Why == "" })
	if info, err := stream.Info(t.Context()); err != nil || info.State.Consumers != 0 {
		t.Errorf("a host without flows consumes: %+v, %v", info, err)
	}
	h.take(true)
	if got := h.taken(); got.ID != "one" {
		t.Errorf("took %s", got.ID)
	}
	if _, err := stream.Consumer(t.Context(), "dormouse-frames"); err != nil {
		t.Error(err)
	}
}

// A queue that is full here leaves messages in the stream.
func TestNoRoomHere(t *testing.T) {
	s := startServer(t)
	s.makeStream()
	h := newHost(t, configs.Remote{NATS: s.url})
	if err := h.queues.SetRules(t.Context(), "sink", queue.Rules{Limits: queue.Limits{Messages: 1}}); err != nil {
		t.Fatal(err)
	}
	h.take(true)
	for _, id := range []string{"one", "two", "three"} {
		h.send(queue.Message{ID: id})
	}
	h.waitFor("told", func(s flows.RemoteTopic) bool { return strings.Contains(s.WhyTaking, queue.ErrQueueFull.Error()) })
	var ids []string
	for range 3 {
		ids = append(ids, h.taken().ID)
	}
	slices.Sort(ids)
	if !slices.Equal(ids, []string{"one", "three", "two"}) {
		t.Errorf("took %v", ids)
	}
	h.waitFor("well", func(s flows.RemoteTopic) bool { return s.WhyTaking == "" })
}

// A message that the server never takes becomes a dead letter, and the next goes on.
func TestTooLongForTheServer(t *testing.T) {
	s := startServer(t, "max_payload: 1000")
	stream := s.makeStream()
	h := newHost(t, configs.Remote{NATS: s.url})
	h.send(queue.Message{ID: "long", Body: make([]byte, 2000)})
	h.send(queue.Message{ID: "short"})
	h.waitFor("idle", func(s flows.RemoteTopic) bool { return s.Messages == 0 && s.Dead == 1 })
	letters, err := h.queues.DeadLetters(t.Context(), "remote/frames", 0, 10)
	if len(letters) != 1 || letters[0].ID != "long" || !strings.Contains(letters[0].Reason, "max_payload") || err != nil {
		t.Errorf("the dead letters are %+v, %v", letters, err)
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 1 {
		t.Errorf("the stream has %+v, %v", info, err)
	}
}

// A consumer that another program uses otherwise is not touched.
func TestForeignConsumer(t *testing.T) {
	s := startServer(t)
	stream := s.makeStream()
	_, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "other", AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, configs.Remote{NATS: s.url, Durable: "other"})
	h.take(true)
	h.waitFor("told", func(s flows.RemoteTopic) bool {
		return strings.Contains(s.WhyTaking, `name another with the key "durable"`)
	})
}

// The host says which client it is as the server asks; with a wrong password messages wait, and
// go as soon as the file has the right one.
func TestCredentials(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(secret, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		server        string
		config        configs.Remote
		right, wrong  string
		administrator nats.Option
	}{
		"password": {
			`authorization { user: tv, password: "pass word" }`, configs.Remote{User: "tv", PasswordFile: secret},
			"pass word", "pass", nats.UserInfo("tv", "pass word"),
		},
		"token": {
			`authorization { token: "abcd" }`, configs.Remote{TokenFile: secret},
			"abcd", "abc", nats.Token("abcd"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, c.server)
			s.makeStream(c.administrator)
			write(c.wrong)
			c.config.NATS = s.url
			h := newHost(t, c.config)
			h.send(queue.Message{ID: "one"})
			h.waitFor("refused", func(s flows.RemoteTopic) bool {
				return !s.Connected && strings.Contains(strings.ToLower(s.Why), "authorization")
			})
			write(c.right)
			h.waitFor("idle", func(s flows.RemoteTopic) bool { return s.Connected && s.Messages == 0 && s.Why == "" })
		})
	}
}

// A file with credentials that is not there yet is waited for.
func TestMissingCredentials(t *testing.T) {
	s := startServer(t)
	s.makeStream()
	missing := filepath.Join(t.TempDir(), "later")
	h := newHost(t, configs.Remote{NATS: s.url, TokenFile: missing})
	h.send(queue.Message{ID: "one"})
	h.waitFor("told", func(s flows.RemoteTopic) bool { return strings.Contains(s.Why, missing) })
	if err := os.WriteFile(missing, []byte("any"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.waitFor("idle", func(s flows.RemoteTopic) bool { return s.Connected && s.Messages == 0 })
}

func TestIsTooLong(t *testing.T) {
	for err, want := range map[error]bool{
		nats.ErrMaxPayload: true,
		&jetstream.APIError{ErrorCode: messageTooLong}: true,
		&jetstream.APIError{ErrorCode: 10077}:          false,
		errors.New("another"):                          false,
	} {
		if isTooLong(fmt.Errorf("wrapped: %w", err)) != want {
			t.Errorf("%v: want %v", err, want)
		}
	}
}
