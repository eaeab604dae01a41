package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/hibernate/hibernatetest"
)

// packageDir returns a directory with the files of a package.
func packageDir(t *testing.T, manifest string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "counter")
	for name, text := range map[string]string{"plugin.toml": manifest, "bin/counter": "#!/bin/sh\n", "share/schema.json": `{"required": ["start"]}`} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const packageManifest = `
name = "counter"
version = "1.0.0"
provides = ["counter 1.2.0"]
schema = "share/schema.json"
[program]
linux-amd64 = "bin/counter"
linux-arm64 = "bin/counter"
[[instance]]
callsign = "Counter"
limits = { memory = "64MiB" }
environment = { DEBUG = "1" }
configuration = { start = 41 }
`

// keyPair makes a key pair with minisign, which must be there, and returns the paths of the
// private and the public key.
func keyPair(t *testing.T, password string) (private, public string) {
	t.Helper()
	hibernatetest.RequireProgram(t, "minisign")
	dir := t.TempDir()
	private, public = filepath.Join(dir, "k.key"), filepath.Join(dir, "k.pub")
	args := []string{"-G", "-s", private, "-p", public}
	if password == "" {
		args = append(args, "-W")
	}
	cmd := exec.CommandContext(t.Context(), "minisign", args...)
	cmd.Stdin = strings.NewReader(password + "\n" + password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("minisign -G: %v\n%s", err, out)
	}
	return private, public
}

// runWithInput runs the program with a text on its standard input.
func runWithInput(t *testing.T, input string, args ...string) result {
	t.Helper()
	cmd := command(t.Context(), nil, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	_ = cmd.Run() // the exit code says it
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// An author builds and signs a package; any machine checks it with sha256sum and minisign, and
// inspect says whose it is.
func TestPackageStory(t *testing.T) {
	dir := packageDir(t, packageManifest)
	out := t.TempDir()
	file := filepath.Join(out, "counter.tar.gz")
	first := dormouse(t, nil, "package", "build", dir, "-o", file).expect(t, exitDone, file, "sha256:")
	bytesOfFirst, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dormouse(t, nil, "package", "build", dir, "-o", file).expect(t, exitDone, first.out)
	if again, err := os.ReadFile(file); err != nil || !bytes.Equal(again, bytesOfFirst) {
		t.Errorf("the same files make other bytes, %v", err)
	}

	private, public := keyPair(t, "secret") // the tests of package trust have wrong passwords
	open, otherPublic := keyPair(t, "")
	signed := runWithInput(t, "secret\n", "package", "sign", file, "-k", private).expect(t, exitDone, "counter 1.0.0, signed by the key", "sha256:", `!keys = ["RW`)
	if !strings.Contains(signed.out, strings.Fields(first.out)[3]) {
		t.Errorf("the digest has changed from %s to %s", first.out, signed.out)
	}
	unpacked := t.TempDir()
	for _, args := range [][]string{
		{"tar", "-xzf", file}, {"sha256sum", "--strict", "-c", "SHA256SUMS"}, {"minisign", "-V", "-p", public, "-m", "SHA256SUMS"},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = unpacked
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}

	config := filepath.Join(out, "dormouse.toml")
	if err := os.WriteFile(config, []byte("[packages]\nkeys = [\""+public+"\", \""+otherPublic+"\"]\nunsigned = \"never\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dormouse(t, nil, "package", "inspect", file, "--config", config).expect(t, exitDone,
		"good, by one of this machine's keys", "counter 1.2.0", "64MiB memory", "DEBUG", "nothing is against installing it")
	dormouse(t, nil, "package", "inspect", unpacked, "--config", config).expect(t, exitDone, "good, by one of this machine's keys")
	dormouse(t, nil, "package", "inspect", dir, "--config", config).expect(t, exitDone, "it is not signed", "refused", "only signed packages are accepted")

	// Files that change after they were signed are noticed.
	if err := os.WriteFile(filepath.Join(unpacked, "bin/counter"), []byte("evil"), 0o755); err != nil {
		t.Fatal(err)
	}
	dormouse(t, nil, "package", "inspect", unpacked, "--config", config).expect(t, exitDone, "its signature is wrong", "it is not as its SHA256SUMS says")
	dormouse(t, nil, "package", "build", unpacked, "-o", file).expect(t, exitFailed, "!the signature in it is older than its files")
	runWithInput(t, "", "package", "sign", unpacked, "-k", open).expect(t, exitDone)
	dormouse(t, nil, "package", "build", unpacked, "-o", file).expect(t, exitDone)
	dormouse(t, nil, "package", "inspect", file, "--config", config).expect(t, exitDone, "good, by one of this machine's keys")
	if left, err := os.ReadDir(out); err != nil || len(left) != 2 {
		t.Errorf("left beside the archive: %v, %v", left, err)
	}
}

// What a machine has against a package is said by inspect, with what to do.
func TestPackageObjections(t *testing.T) {
	dir := packageDir(t, packageManifest)
	config := filepath.Join(t.TempDir(), "dormouse.toml")
	text := "[packages.caps]\nmemory = \"32MiB\"\npids = 10\nenvironment = [\"LANG\"]\n" +
		"[[plugin]]\npackage = \"counter\"\ncallsign = \"Second\"\nstart-mode = \"activated\"\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := dormouse(t, nil, "package", "inspect", dir, "--config", config, "-o", "json").expect(t, exitDone)
	var got inspection
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"the package asks for 64MiB memory instead of 32MiB, which [packages.caps] does not allow",
		"the package asks for any threads instead of 10, which [packages.caps] does not allow",
		"the package asks for the variable DEBUG, which [packages.caps] does not allow",
		config + ":5: the configuration of Second is not as the package wants it: /start is missing",
	}
	if strings.Join(got.Objections, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got.Objections, "\n"), strings.Join(want, "\n"))
	}
}

func TestPackageMistakes(t *testing.T) {
	dir := packageDir(t, packageManifest)
	out := t.TempDir()
	dormouse(t, nil, "package", "build", out).expect(t, exitFailed, "!there is no plugin.toml in "+out+": it is not a package")
	dormouse(t, nil, "package", "build", dir, "-o", "x.zip").expect(t, exitUsage, "!it must be a file that ends in .tar.zst or .tar.gz")
	dormouse(t, nil, "package", "build", packageDir(t, "name = \"A\"\nvrsion = \"1\"\n")).expect(t, exitFailed, `!plugin.toml:1: key "name" at the top level: "A" is not the name of a package`, `!plugin.toml:2: unknown key "vrsion" at the top level: did you mean "version"?`)
	dormouse(t, nil, "package", "sign", dir).expect(t, exitUsage, "!-k KEYFILE is missing")
	dormouse(t, nil, "package", "sign", dir, "-k", filepath.Join(dir, "plugin.toml")).expect(t, exitFailed, "!is not one of minisign")
	if err := os.WriteFile(filepath.Join(out, "x.tar.zst"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	dormouse(t, nil, "package", "inspect", filepath.Join(out, "x.tar.zst")).expect(t, exitFailed, "!it is not an archive: it must be a tar.zst or tar.gz")
	dormouse(t, nil, "package", "inspect", filepath.Join(out, "none")).expect(t, exitFailed, "!no such file")
}
