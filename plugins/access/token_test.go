package access

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dormouse/configs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A token is on disk as a digest only, and valid until it is revoked.
func TestTokenFile(t *testing.T) {
	file := TokenFileIn(filepath.Join(t.TempDir(), "root"))
	if tokens, err := file.Read(); err != nil || len(tokens) != 0 {
		t.Fatal(tokens, err)
	}
	secret, err := file.Add("tv")
	must(t, err)
	_, err = file.Add("phone")
	must(t, err)
	text, err := os.ReadFile(string(file))
	must(t, err)
	if strings.Contains(string(text), secret) || strings.Contains(string(text), strings.TrimPrefix(secret, tokenPrefix)) {
		t.Error("the token is in the file")
	}
	if info, err := os.Stat(string(file)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	tokens, err := file.Read()
	must(t, err)
	if nameOfToken(tokens, DigestOf(secret)) != "tv" || nameOfToken(tokens, DigestOf(secret+"x")) != "" || nameOfToken(tokens, TokenDigest{}) != "" {
		t.Errorf("%v", tokens)
	}
	if _, err := file.Add("tv"); !errors.Is(err, ErrTokenExists) {
		t.Errorf("a second of that name: %v", err)
	}
	for _, name := range []string{"", "a b", "../x", "-x", strings.Repeat("x", 65)} {
		if _, err := file.Add(name); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
	must(t, file.Revoke("tv"))
	if err := file.Revoke("tv"); !errors.Is(err, ErrNoToken) {
		t.Errorf("revoked twice: %v", err)
	}
	tokens, err = file.Read()
	must(t, err)
	if len(tokens) != 1 || tokens[0].Name != "phone" {
		t.Errorf("%v", tokens)
	}
}

// What root changes, the host's own user can read and change too.
func TestTokensOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of another user")
	}
	dir := t.TempDir()
	must(t, os.Chown(dir, stranger, stranger))
	file := TokenFileIn(dir)
	_, err := file.Add("tv")
	must(t, err)
	for _, path := range []string{string(file), string(file) + ".lock"} {
		info, err := os.Stat(path)
		must(t, err)
		if owner := info.Sys().(*syscall.Stat_t).Uid; owner != stranger { //nolint:errcheck // on Linux it is one
			t.Errorf("user %d owns %s", owner, path)
		}
	}
	must(t, os.Remove(string(file)+".lock"))
	elsewhere := filepath.Join(t.TempDir(), "root's")
	must(t, os.WriteFile(elsewhere, nil, 0o600))
	must(t, os.Symlink(elsewhere, string(file)+".lock"))
	if _, err := file.Add("phone"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a link in the place of the lock: %v", err)
	}
}

// Programs that change the file at the same time lose nothing.
func TestTokensAddedTogether(t *testing.T) {
	file := TokenFileIn(t.TempDir())
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if _, err := file.Add(string(rune('a' + i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if tokens, err := file.Read(); err != nil || len(tokens) != 20 {
		t.Errorf("%d tokens, %v", len(tokens), err)
	}
}

// A damaged file, or one that others may write, gives no token.
func TestUnusableTokenFile(t *testing.T) {
	file := TokenFileIn(t.TempDir())
	_, err := file.Add("tv")
	must(t, err)
	must(t, os.Chmod(string(file), 0o622))
	if tokens, err := file.Read(); err == nil || tokens != nil {
		t.Errorf("others may write it: %v, %v", tokens, err)
	}
	must(t, os.WriteFile(string(file), []byte(`[{"name":"tv","digest":"00"}]`), 0o600))
	must(t, os.Chmod(string(file), 0o600))
	if tokens, err := file.Read(); err == nil || tokens != nil {
		t.Errorf("damaged: %v, %v", tokens, err)
	}
	if err := file.Revoke("tv"); err == nil {
		t.Error("a damaged file was replaced")
	}
}

// The guard's listeners hear of every change that matters, and of no other.
func TestRulesChange(t *testing.T) {
	file := TokenFileIn(t.TempDir())
	g := NewGuard(Rules{Rows: []configs.Access{{Token: "tv", Role: "call"}}})
	heard := make(chan struct{}, 10)
	stopListening := g.Listen(func() { heard <- struct{}{} })
	stop, err := file.Watch(func() {
		tokens, err := file.Read()
		if err != nil {
			t.Error(err)
		}
		g.SetTokens(tokens)
	})
	must(t, err)
	hear := func(what string) {
		t.Helper()
		select {
		case <-heard:
		case <-time.After(10 * time.Second):
			t.Fatal("nothing heard of " + what)
		}
	}
	secret, err := file.Add("tv")
	must(t, err)
	hear("a new token")
	client := Client{Token: DigestOf(secret)}
	before := g.Grants(client)
	if role := g.RoleOf(client, Target{}); role != Call || !g.IsKnown(client) {
		t.Errorf("with the token: %s", role)
	}
	must(t, file.Revoke("tv"))
	hear("a revoked token")
	if role := g.RoleOf(client, Target{}); role != None || g.IsKnown(client) || g.Grants(client) == before {
		t.Errorf("revoked: %s", role)
	}
	stop()
	g.SetRules(Rules{Rows: []configs.Access{{Token: "tv", Role: "call"}}})
	g.SetTokens(nil)
	stopListening()
	g.SetRules(Rules{})
	if len(heard) > 0 {
		t.Error("heard of a change that is none")
	}
}
