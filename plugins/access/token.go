package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/atomicfile"
	"dormouse/internal/filelock"
	"dormouse/internal/regularfile"
	"dormouse/internal/tamper"
)

// Token is a token as the host keeps it: its name and its digest, not the token itself.
type Token struct {
	Name    string      `json:"name"`
	Digest  TokenDigest `json:"digest"`
	Created time.Time   `json:"created"`
}

// TokenDigest is the SHA-256 digest of a token. A token has 256 random bits, so that no
// slower digest is needed.
type TokenDigest [sha256.Size]byte

// DigestOf returns the digest of a token that a client sent.
func DigestOf(token string) TokenDigest { return sha256.Sum256([]byte(token)) }

// IsToken reports whether the text looks like a token of a host.
func IsToken(text string) bool { return strings.HasPrefix(text, tokenPrefix) }

// MarshalText returns the digest in hexadecimal.
func (d TokenDigest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText reads a digest in hexadecimal.
func (d *TokenDigest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(d) {
		return fmt.Errorf("a digest has %d hexadecimal digits", hex.EncodedLen(len(d)))
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// nameOfToken returns the name of the token with that digest, empty if there is none. How
// long it takes does not depend on the digest.
func nameOfToken(tokens []Token, d TokenDigest) string {
	name := ""
	for _, t := range tokens {
		if subtle.ConstantTimeCompare(t.Digest[:], d[:]) == 1 {
			name = t.Name
		}
	}
	return name
}

// TokenFile is the path of the file that holds the tokens of a host. The file need not
// exist; then there are none.
type TokenFile string

// TokenFileIn returns the token file of the host with that root.
func TokenFileIn(root string) TokenFile { return TokenFile(filepath.Join(root, "tokens")) }

var (
	// ErrNoToken means that there is no token of that name.
	ErrNoToken = errors.New("there is no such token")
	// ErrTokenExists means that there is a token of that name already.
	ErrTokenExists = errors.New("there is a token of that name already")
)

var tokenNameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}$`)

// tokenPrefix begins every token, so that people and scanners know one when they see it.
const tokenPrefix = "dormouse_"

// maxTokenFile is how many bytes of the token file are read at most: some 20,000 tokens.
const maxTokenFile = 4 << 20

// Read returns the tokens, sorted by name. It refuses a file that other users could have
// written.
func (f TokenFile) Read() ([]Token, error) {
	text, err := regularfile.Read(string(f), maxTokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the tokens: %w", err)
	}
	err = tamper.GuardFor(filepath.Dir(string(f))).Check(string(f))
	var tokens []Token
	if err == nil {
		err = json.Unmarshal(text, &tokens)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the tokens in %s: %w", string(f), err)
	}
	return tokens, nil
}

// Add makes a token of that name and returns it. Only its digest is kept. It returns
// ErrTokenExists if the name is taken.
func (f TokenFile) Add(name string) (token string, err error) {
	if !tokenNameForm.MatchString(name) {
		return "", fmt.Errorf(`%q is not the name of a token: it must be a letter or digit, then at most 63 letters, digits, "_", ".", "@" or "-"`, name)
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // it never fails
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	err = f.change(func(tokens []Token) ([]Token, error) {
		at, taken := slices.BinarySearchFunc(tokens, name, compareName)
		if taken {
			return nil, fmt.Errorf("%w: %s", ErrTokenExists, name)
		}
		return slices.Insert(tokens, at, Token{name, DigestOf(token), time.Now().UTC().Truncate(time.Second)}), nil
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// Revoke removes the token of that name, or returns ErrNoToken.
func (f TokenFile) Revoke(name string) error {
	return f.change(func(tokens []Token) ([]Token, error) {
		at, exists := slices.BinarySearchFunc(tokens, name, compareName)
		if !exists {
			return nil, fmt.Errorf("%w: %s", ErrNoToken, name)
		}
		return slices.Delete(tokens, at, at+1), nil
	})
}

// compareName compares the name of a token with another name, for a search.
func compareName(t Token, name string) int { return strings.Compare(t.Name, name) }

// change replaces the tokens by those that edit returns, unless it returns an error. Two
// programs that change the file wait for each other.
func (f TokenFile) change(edit func([]Token) ([]Token, error)) error {
	unlock, err := f.lock()
	if err != nil {
		return fmt.Errorf("cannot change the tokens: %w", err)
	}
	defer unlock()
	tokens, err := f.Read()
	if err != nil {
		return err
	}
	if tokens, err = edit(tokens); err != nil {
		return err
	}
	text, err := json.MarshalIndent(tokens, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot change the tokens: %w", err)
	}
	if err := atomicfile.Write(string(f), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot change the tokens: %w", err)
	}
	return nil
}

// lockLimit is how long a change of the file by another program may take.
const lockLimit = 10 * time.Second

// lock keeps other programs from changing the file until unlock is called. It makes a
// missing directory, so that a token can be made before the host first starts.
func (f TokenFile) lock() (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(string(f)), 0o700); err != nil {
		return nil, err
	}
	lock, err := f.openLock()
	if err != nil {
		return nil, err
	}
	if err := filelock.Lock(lock, lockLimit); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return func() { _ = lock.Close() }, nil // closing ends the lock
}

// openLock opens the file that is locked, and makes it if it is missing. A file that root
// makes in another user's directory belongs to that user; an existing file keeps its owner.
func (f TokenFile) openLock() (*os.File, error) {
	path := string(f) + ".lock"
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return regularfile.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := atomicfile.GiveToOwnerOf(filepath.Dir(path), lock); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// Watch calls changed after each change in the directory of the file, until stop is
// called. The directory must exist.
func (f TokenFile) Watch(changed func()) (stop func(), err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the tokens: %w", os.NewSyscallError("inotify_init", err))
	}
	changes := os.NewFile(uintptr(fd), "inotify")
	const replacedOrGone = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(string(f)), replacedOrGone); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot watch the tokens: %w", os.NewSyscallError("inotify_add_watch", err)), changes.Close())
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		events := make([]byte, 4096)
		for {
			if _, err := changes.Read(events); err != nil {
				return // stop closes it
			}
			changed()
		}
	})
	return func() {
		_ = changes.Close()
		watching.Wait()
	}, nil
}
