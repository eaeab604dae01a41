// Package webhooks gives what the outbox sends to programs that Dormouse has not made.
package webhooks

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/outbox"
	"dormouse/internal/outbox/targets"
	"dormouse/internal/store"
)

// received is a request as the verifier takes it.
type received struct {
	Secret  string            `json:"secret"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

// with returns the request with another header.
func (r received) with(header, value string) received {
	r.Headers = maps.Clone(r.Headers)
	r.Headers[header] = value
	return r
}

// secretOf returns the secret that spells the text.
func secretOf(text string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(text))
}

// verifier is the npm package standardwebhooks.
type verifier struct {
	in  io.Writer
	out *bufio.Scanner
}

// startVerifier starts the verifier, or skips the test where Node or the package is missing.
func startVerifier(t *testing.T) *verifier {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "node", "-e", "require('standardwebhooks')").CombinedOutput(); err != nil {
		hibernatetest.SkipOrFail(t, fmt.Errorf("the verifier of Standard Webhooks is missing, which `make setup-test` installs: %w\n%s", err, out))
	}
	cmd := exec.CommandContext(t.Context(), "node", "verify.js")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &verifier{in, bufio.NewScanner(out)}
}

// verify returns "accepted", or what is wrong with the request.
func (v *verifier) verify(t *testing.T, r received) string {
	t.Helper()
	raw, err := json.Marshal(r)
	if err == nil {
		_, err = fmt.Fprintf(v.in, "%s\n", raw)
	}
	if err != nil || !v.out.Scan() {
		t.Fatal(err, v.out.Err())
	}
	return v.out.Text()
}

// sender is an outbox that delivers to a target on this machine.
type sender struct {
	*outbox.Outbox
	store *store.Store
	url   string
	got   chan received
}

// newSender runs an outbox with a target, whose first answer to each id is a failure.
func newSender(t *testing.T) *sender {
	t.Helper()
	s := &sender{got: make(chan received, 10)}
	seen := make(map[string]bool)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		one := received{Headers: make(map[string]string), Body: string(body)}
		for name := range r.Header {
			one.Headers[strings.ToLower(name)] = r.Header.Get(name)
		}
		s.got <- one
		if id := r.Header.Get("Webhook-Id"); !seen[id] {
			seen[id] = true
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(target.Close)
	s.url = target.URL
	var err error
	if s.store, err = store.Open(filepath.Join(t.TempDir(), "store.db"), store.Options{}); err != nil {
		t.Fatal(err)
	}
	rule, err := targets.ParseRule("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if s.Outbox, err = outbox.Open(s.store, outbox.Options{Targets: targets.New(targets.Options{Allow: []targets.Rule{rule}})}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = s.store.Close()
	})
	return s
}

// put puts a delivery in, of a line with these secrets, the older first.
func (s *sender) put(t *testing.T, body string, secrets ...string) {
	t.Helper()
	err := s.store.Update(t.Context(), func(tx *store.Tx) error {
		for _, secret := range secrets {
			if err := s.SetSecret(tx, "line", secret); err != nil {
				return err
			}
		}
		return s.PutIn(tx, outbox.Delivery{Line: "line", Event: "status", URL: s.url, Body: []byte(body)})
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Wake()
}

// The verifier accepts what the outbox sends, also with the secret of before while secrets
// rotate, and nothing that was altered. All tries of one delivery have one id.
func TestVerifierOfNPM(t *testing.T) {
	v, s := startVerifier(t), newSender(t)
	older, newer, other := secretOf("the older one, 24 bytes.."), secretOf("the newer one, of up to 64 bytes in all"), secretOf("of another one altogether")
	const body = `{"type":"task.status","data":{"title":"Größe ☃","n":[1,2.50]}}`

	s.put(t, body, older)
	first := <-s.got
	first.Secret = older
	if got := v.verify(t, first); got != "accepted" {
		t.Errorf("the first try: %s", got)
	}
	again := <-s.got
	again.Secret = older
	if got := v.verify(t, again); got != "accepted" || again.Headers["webhook-id"] != first.Headers["webhook-id"] {
		t.Errorf("the second try: %s, %v after %v", got, again.Headers, first.Headers)
	}
	for name, altered := range map[string]received{
		"the body":           {older, first.Headers, strings.Replace(body, "1", "2", 1)},
		"a space in it":      {older, first.Headers, body + " "},
		"no body":            {older, first.Headers, ""},
		"the id":             first.with("webhook-id", "msg_other"),
		"the time":           first.with("webhook-timestamp", "1700000000"),
		"the signature":      first.with("webhook-signature", "v1,"+strings.Repeat("A", 43)+"="),
		"no signature":       first.with("webhook-signature", ""),
		"another's secret":   {other, first.Headers, body},
		"the secret to come": {newer, first.Headers, body},
	} {
		if got := v.verify(t, altered); got == "accepted" {
			t.Errorf("altered, %s, and accepted", name)
		}
	}

	s.put(t, body, newer)
	rotating := <-s.got
	for secret, want := range map[string]bool{older: true, newer: true, other: false} {
		rotating.Secret = secret
		if got := v.verify(t, rotating); (got == "accepted") != want {
			t.Errorf("while secrets rotate: %s", got)
		}
	}
	if got := strings.Fields(rotating.Headers["webhook-signature"]); len(got) != 2 {
		t.Errorf("there are the signatures %q", got)
	}
}

// Without a secret nothing is signed, and what is not a secret is refused.
func TestNoSecret(t *testing.T) {
	s := newSender(t)
	s.put(t, "")
	one := <-s.got
	for _, header := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		if one.Headers[header] != "" {
			t.Errorf("%s is %q", header, one.Headers[header])
		}
	}
	for _, text := range []string{"secret", "whsec_", "whsec_!", "whsec_c2hvcnQ=", secretOf(strings.Repeat("x", 65)), secretOf("12345678901234567890123")} {
		err := s.store.Update(t.Context(), func(tx *store.Tx) error { return s.SetSecret(tx, "line", text) })
		if !errors.Is(err, outbox.ErrSecret) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
