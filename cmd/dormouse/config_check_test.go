package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

// writeFiles writes files below dir: by name, with their text, executable if the name says so.
func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		mode := os.FileMode(0o600)
		if strings.HasPrefix(name, "bin/") {
			mode = 0o700
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"bad.toml":            "[host]\nlisten = \"127.0.0.1:1\"\nlog-lvel = \"info\"\n",
		"bin/plugins/counter": "", "bin/plugins/echo": "",
	})
	path := filepath.Join(dir, "bad.toml")
	dormouse(t, nil, "config", "check", "--config", path).expect(t, exitFailed, path+":3: ", `did you mean "log-level"?`)
	dormouse(t, nil, "config", "check", "--config", path, "-o", "json").expect(t, exitFailed, `"line": 3`)
	dormouse(t, nil, "serve", "--config", path).expect(t, exitFailed, "!"+path+":3: ")
	dormouse(t, nil, "config", "check", "--config", path+"x").expect(t, exitFailed, path+"x: cannot read: no such file or directory")

	sample, err := os.ReadFile("../../configs/sample.toml") // its plugins are where they would be built
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{"configs/sample.toml": string(sample)})
	dormouse(t, nil, "config", "check", "--config", filepath.Join(dir, "configs/sample.toml")).expect(t, exitDone, "nothing wrong, 2 plugins")
}

// A configuration that is well-formed, and names what does not exist, is at fault: each is
// told with its file and line, those of drop-ins too.
func TestConfigCheckOfWhatIsNamed(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"file": "", "bin/program": "", "bin/script": "#!/no/such/interpreter -x\n",
		"dormouse.toml": `[host]
web-ui = "none"
data = "file"
communicator-group = "no-such-group"
reboot = ["no-such-program", "now"]
tls-certificate = "none.pem"
tls-key = "bin"
tls-client-ca = "file"

[[access]]
user = "no-such-user"
role = "call"

[[access]]
user = "12345"
role = "call"

[[access]]
group = "no-such-group"
role = "call"

[hibernate]
criu = "bin/none"
key-file = "none.key"

[packages]
keys = ["./none.pub", "./file"]
credentials = "none.json"

[[plugin]]
callsign = "Well"
executable = "bin/program"
data = "bin"

[[plugin]]
callsign = "Script"
executable = "bin/script"
web-ui = "none"
`,
		"plugins.d/more.toml": `
[[plugin]]
callsign = "File"
executable = "../file"
data = "none"

[[plugin]]
callsign = "Named"
executable = "no-such-program"

[[plugin]]
callsign = "Builtin"
builtin = "Nil"
`,
	})
	main, more := filepath.Join(dir, "dormouse.toml"), filepath.Join(dir, "plugins.d/more.toml")
	got := dormouse(t, []string{"PATH=/bin"}, "config", "check", "--config", main, "-o", "json").expect(t, exitFailed)
	var problems []problem
	if err := json.Unmarshal([]byte(got.out), &problems); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range problems {
		lines = append(lines, fmt.Sprintf("%s:%d: %s", strings.TrimPrefix(p.Source, dir+"/"), p.Line, strings.ReplaceAll(p.Message, dir, "DIR")))
	}
	want := []string{
		`dormouse.toml:2: key "web-ui": there is no DIR/none`,
		`dormouse.toml:3: key "data": DIR/file is not a directory`,
		`dormouse.toml:4: key "communicator-group": there is no group "no-such-group" on this machine`,
		`dormouse.toml:5: key "reboot": there is no program "no-such-program" in PATH, which is "/bin" here`,
		`dormouse.toml:6: key "tls-certificate": there is no DIR/none.pem`,
		`dormouse.toml:7: key "tls-key": DIR/bin is not a regular file`,
		`dormouse.toml:11: key "user": there is no user "no-such-user" on this machine`,
		`dormouse.toml:19: key "group": there is no group "no-such-group" on this machine`,
		`dormouse.toml:23: key "criu": there is no DIR/bin/none`,
		`dormouse.toml:24: key "key-file": there is no DIR/none.key`,
		`dormouse.toml:27: key "keys": there is no DIR/none.pub`,
		`dormouse.toml:28: key "credentials": there is no DIR/none.json`,
		`dormouse.toml:37: key "executable": the interpreter of DIR/bin/script is missing: there is no /no/such/interpreter`,
		`dormouse.toml:38: key "web-ui": there is no DIR/none`,
		`plugins.d/more.toml:4: key "executable": cannot use DIR/file: permission denied`,
		`plugins.d/more.toml:5: key "data": there is no DIR/plugins.d/none`,
		`plugins.d/more.toml:9: key "executable": there is no program "no-such-program" in PATH, which is "/bin" here`,
		`plugins.d/more.toml:13: key "builtin" in [[plugin]]: there is no builtin "Nil", only: Monitor`,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	dormouse(t, nil, "config", "check", "--config", main).expect(t, exitFailed, main+`:2: key "web-ui"`, more+":13: ")
}

// Certificates and keys that exist must be of use, as at the start of a host.
func TestConfigCheckOfKeys(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"bad.pem": "no certificate", "bad.key": "too short",
		"dormouse.toml": "[host]\ntls-certificate = \"bad.pem\"\ntls-key = \"bad.pem\"\n[hibernate]\nkey-file = \"bad.key\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n" +
			"tls-certificate = \"bad.key\"\ntls-key = \"bad.key\"\n[packages]\nkeys = [\"./bad.key\"]\n",
	})
	main := filepath.Join(dir, "dormouse.toml")
	dormouse(t, nil, "config", "check", "--config", main).expect(t, exitFailed,
		main+":2: cannot use the certificate "+dir+"/bad.pem", main+":5: ", "64 hexadecimal digits", main+":8: cannot use the certificate "+dir+"/bad.key",
		main+":11: cannot read a key for packages: "+dir+"/bad.key: it is not a public key of minisign")
}

// A configuration that is not there is no good one.
func TestConfigCheckOfNothing(t *testing.T) {
	if _, err := os.Stat(filepath.Dir(configs.DefaultPath)); err == nil {
		t.Skipf("this machine has a configuration in %s", filepath.Dir(configs.DefaultPath))
	}
	dormouse(t, nil, "config", "check").expect(t, exitFailed, configs.DefaultPath+": there is no such file, nor any drop-in: a host would run no plugin")
}
