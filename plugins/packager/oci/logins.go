package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"dormouse/internal/timelimit"
)

// A program that keeps logins has this name before its own, may take so long to answer, and say no
// more than so many bytes.
const (
	helperPrefix    = "docker-credential-"
	helperTime      = 20 * time.Second
	maxHelperAnswer = 64 << 10
)

// logins finds logins for registries as docker does: in a program that the file names, for one
// registry or for all, and in the file itself.
type logins struct {
	path    string // of the file
	file    credentials.Store
	Helper  string            `json:"credsStore"`
	Helpers map[string]string `json:"credHelpers"`
	limit   time.Duration
}

// openLogins reads the file, which has the form of docker's config.json.
func openLogins(path string) (*logins, error) {
	l := &logins{path: path, limit: helperTime}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, l)
	}
	if err == nil {
		l.file, err = credentials.NewFileStore(path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the credentials for registries: %w", err)
	}
	return l, nil
}

// find returns the login for a registry, the empty one if there is none.
func (l *logins) find(ctx context.Context, host string) (auth.Credential, error) {
	host = credentials.ServerAddressFromHostname(host)
	if host == "" {
		return auth.EmptyCredential, nil
	}
	name := l.Helper
	if own, ok := l.Helpers[host]; ok {
		name = own
	}
	if name != "" {
		login, err := l.ask(ctx, name, host)
		if err != nil {
			return login, fmt.Errorf("cannot get the login for %s from %s%s, which %s names: %w", host, helperPrefix, name, l.path, err)
		}
		if login != auth.EmptyCredential {
			return login, nil
		}
	}
	return l.file.Get(ctx, host)
}

// helperName is what the name of a program may be: it is looked for in PATH alone.
var helperName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// errNoLogin is what a program prints that has no login for the registry.
const errNoLogin = "credentials not found in native keychain"

// ask runs the program of that name, and returns the login that it prints. What the program writes
// elsewhere is thrown away: it may hold secrets.
func (l *logins) ask(ctx context.Context, name, host string) (auth.Credential, error) {
	if !helperName.MatchString(name) {
		return auth.EmptyCredential, errors.New("that is not the name of a program")
	}
	ctx, cancel := timelimit.With(ctx, l.limit)
	defer cancel()
	var out limitedBuffer
	cmd := exec.CommandContext(ctx, helperPrefix+name, "get")
	cmd.Stdin, cmd.Stdout = strings.NewReader(host), &out
	cmd.WaitDelay = time.Second // for what it has started
	err := cmd.Run()
	said := strings.TrimSpace(out.String())
	switch {
	case ctx.Err() != nil:
		return auth.EmptyCredential, fmt.Errorf("%w; it may wait for a password or a key, which the host can't give", timelimit.EndError(ctx))
	case errors.Is(err, exec.ErrNotFound):
		return auth.EmptyCredential, errors.New("there is no such program in PATH of the host; install it there, or put the login itself into the file (credentials in [packages] names one of the host's own)")
	case err != nil && said == errNoLogin:
		return auth.EmptyCredential, nil
	case err != nil && said != "":
		return auth.EmptyCredential, fmt.Errorf("it says: %.200s", said)
	case err != nil:
		return auth.EmptyCredential, err
	}
	return parseLogin(out.Bytes())
}

// parseLogin reads what a program prints.
func parseLogin(text []byte) (auth.Credential, error) {
	var printed struct{ Username, Secret string }
	if json.Unmarshal(text, &printed) != nil {
		return auth.EmptyCredential, errors.New("it printed no login") // what it printed may be a secret
	}
	if printed.Username == "<token>" {
		return auth.Credential{RefreshToken: printed.Secret}, nil
	}
	return auth.Credential{Username: printed.Username, Password: printed.Secret}, nil
}

// limitedBuffer keeps the beginning of what is written.
type limitedBuffer struct{ bytes.Buffer }

// Write keeps as much as there is room for, and forgets the rest.
func (b *limitedBuffer) Write(text []byte) (int, error) {
	b.Buffer.Write(text[:min(len(text), maxHelperAnswer-b.Len())])
	return len(text), nil
}
