package trust

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"

	"dormouse/configs"
	"dormouse/hibernate/hibernatetest"
)

var sums = []byte("text of SHA256SUMS\n")

// newKey returns a new private key.
func newKey(t *testing.T) PrivateKey {
	t.Helper()
	_, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return PrivateKey{private}
}

func TestVerify(t *testing.T) {
	a, b := newKey(t), newKey(t)
	good := a.Sign(sums, "comment")
	keys := []Key{b.Public(), a.Public()}
	for name, test := range map[string]struct {
		sums, signature []byte
		keys            []Key
		want            error
	}{
		"good":              {sums, good, keys, nil},
		"older form":        {sums, minisign.Sign(a.private, sums), keys, nil},
		"with CR":           {sums, bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), keys, nil},
		"none":              {sums, nil, keys, ErrUnsigned},
		"empty":             {sums, []byte{}, keys, ErrUnsigned},
		"no keys":           {sums, good, nil, ErrUnknownKey},
		"unknown key":       {sums, good, keys[:1], ErrUnknownKey},
		"of something else": {[]byte("other"), good, keys, ErrBadSignature},
		"changed comment":   {sums, bytes.ReplaceAll(good, []byte("trusted comment: comment"), []byte("trusted comment: other")), keys, ErrBadSignature},
		"untrusted comment": {sums, bytes.Replace(good, []byte("signature from"), []byte("whatever"), 1), keys, nil},
		"malformed":         {sums, []byte("untrusted comment: x\n"), keys, ErrBadSignature},
		"cut":               {sums, good[:len(good)-20], keys, ErrBadSignature},
	} {
		id, err := Verify(test.sums, test.signature, test.keys)
		if !errors.Is(err, test.want) || (test.want == nil) != (id == a.Public().ID()) {
			t.Errorf("%s: got %q, %v, want %v", name, id, err, test.want)
		}
	}
	for n := range good {
		if id, err := Verify(sums, good[:n], keys); err == nil && n < len(good)-2 {
			t.Errorf("cut at %d it is by %s", n, id)
		}
	}
}

func TestAdmit(t *testing.T) {
	a, b := newKey(t), newKey(t)
	keys := []Key{a.Public()}
	signatures := map[string][]byte{"none": nil, "good": a.Sign(sums, ""), "unknown": b.Sign(sums, ""), "wrong": a.Sign([]byte("other"), "")}
	for _, test := range []struct {
		unsigned configs.Unsigned
		isLocal  bool
		accepted string
	}{
		{configs.UnsignedLocal, true, "none good unknown"},
		{configs.UnsignedLocal, false, "good"},
		{configs.UnsignedNever, true, "good"},
		{configs.UnsignedNever, false, "good"},
		{configs.UnsignedAlways, true, "none good unknown"},
		{configs.UnsignedAlways, false, "none good unknown"},
	} {
		var accepted []string
		for _, name := range []string{"none", "good", "unknown", "wrong"} {
			id, err := Admit(sums, signatures[name], keys, test.unsigned, test.isLocal)
			if err == nil {
				accepted = append(accepted, name)
			}
			if (id != "") != (name == "good") {
				t.Errorf("%s is by %q", name, id)
			}
		}
		if got := strings.Join(accepted, " "); got != test.accepted {
			t.Errorf("unsigned = %q, local %v: accepted %s, want %s", test.unsigned, test.isLocal, got, test.accepted)
		}
	}
	_, err := Admit(sums, nil, keys, configs.UnsignedLocal, false)
	if err == nil || err.Error() != "it is not signed; from a registry only signed packages are accepted (keys and unsigned in [packages])" {
		t.Errorf("got %v", err)
	}
}

// What Debian's minisign makes is read here, and the other way round.
func TestMinisign(t *testing.T) {
	hibernatetest.RequireProgram(t, "minisign")
	dir := t.TempDir()
	run := func(input string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "minisign", args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("minisign %q: %v\n%s", args, err, out)
		}
	}
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("SHA256SUMS", sums)
	run("pass word\npass word\n", "-G", "-s", "a.key", "-p", "a.pub")
	run("", "-G", "-W", "-s", "b.key", "-p", "b.pub")
	keys, err := ReadKeys([]string{filepath.Join(dir, "a.pub"), filepath.Join(dir, "b.pub")})
	if err != nil {
		t.Fatal(err)
	}
	for i, form := range []string{"-H", "-l"} {
		run("", "-S", form, "-s", "b.key", "-m", "SHA256SUMS")
		signature, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS.minisig"))
		if err != nil {
			t.Fatal(err)
		}
		if id, err := Verify(sums, signature, keys); err != nil || id != keys[1].ID() {
			t.Errorf("form %d: got %s, %v", i, id, err)
		}
	}
	for i, name := range []string{"a", "b"} {
		asked := 0
		key, err := ReadPrivateKey(filepath.Join(dir, name+".key"), func() (string, error) { asked++; return "pass word", nil })
		if err != nil || asked != 1-i || key.Public().String() != keys[i].String() {
			t.Fatalf("%s: asked %d times, %v", name, asked, err)
		}
		write("SHA256SUMS.minisig", key.Sign(sums, "a comment"))
		run("", "-V", "-p", name+".pub", "-m", "SHA256SUMS")
		run("", "-V", "-P", keys[i].String(), "-m", "SHA256SUMS")
	}
	if _, err := ReadPrivateKey(filepath.Join(dir, "a.key"), func() (string, error) { return "wrong", nil }); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("got %v", err)
	}
	if _, err := ReadKeys([]string{filepath.Join(dir, "a.key")}); err == nil {
		t.Error("a private key is taken for a public one")
	}
}
