package configs

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

// FuzzLoad holds that any file either loads into a valid configuration or is
// refused with problems that stand on lines the file has.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"",
		"[host]\nroot = \"x\"\nlisten = \"[::1]:0\"\nallowed-origins = [\"http://a\", # =\n 'http://b']\n",
		"[hibernate]\ntimeout = \"60s\"\ncriu = 7\n",
		"[[plugin]]\ncallsign = \"A\"\nexecutable = '''a'''\n[plugin.configuration]\nx = nan\n[[plugin]]\ncallsign = \"a\"\n",
		"plugin = [{callsign = \"A\", executable = \"b\"}]\n",
		"[[plugin]]\nconfiguration = { a = [{ b = inf }], \"c.d\" = 1979-05-27, e.f = 07:32:00 }\n",
		"[host]\nsubsystems = [\"Tuner\"]\n[[plugin]]\ncallsign = \"A\"\nbuiltin = \"Monitor\"\nprecondition = [\"Tuner\"]\ntermination = [\"!Network\"]\nrestart = { policy = \"always\", limit = 0 }\n",
		"[[listener]]\naddress = \"127.0.0.1:0\"\ndialect = \"thunder-r5\"\n",
		"[[plugin.x]]\n[[plugin.x]]\ny = \"\"\"\n=\\\"\"\"\"\"\n",
		"\ufeffhost.root = \"\\u0000\"\r\n",
		"\"\" = 1\n''.\"a]\" = {}\n[\"]#\"]\n",
		"[host]\nroot = 'a'\nroot = 'b'",
		"a = \"\"\"\\",
		"\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<12 {
			return
		}
		l := &configLoad{config: Default(), callsigns: make(map[string]filePosition), origins: make(Origins)}
		file := &configFile{configLoad: l, path: "f.toml", dir: "/etc"}
		file.decode(text)
		l.mainPlugins = file.plugins
		l.gatherPlugins()
		lines := 1 + strings.Count(string(text), "\n")
		for _, p := range l.problems {
			if p.Line < 1 || p.Line > lines {
				t.Errorf("a problem on line %d of %d: %v", p.Line, lines, p)
			}
			if strings.ContainsFunc(p.Error(), unicode.IsControl) {
				t.Errorf("a problem is more than one line: %q", p.Error())
			}
		}
		if len(l.problems) == 0 {
			checkValid(t, l.config)
		}
	})
}

func checkValid(t *testing.T, c Config) {
	t.Helper()
	if err := checkAddress(c.Host.Listen); err != nil {
		t.Error(err)
	}
	if c.Host.Root == "" || c.Host.Communicator == "" || c.Hibernate.Timeout <= 0 {
		t.Errorf("not valid: %+v", c)
	}
	seen := map[string]bool{}
	for _, p := range c.Plugins {
		folded := strings.ToLower(p.Callsign)
		if err := CheckCallsign(p.Callsign); err != nil || seen[folded] {
			t.Errorf("callsign %q: %v, seen before: %v", p.Callsign, err, seen[folded])
		}
		seen[folded] = true
		if (p.Executable == "") == (p.Builtin == "") || p.Restart.Window <= 0 || p.StartTimeout <= 0 || p.StopTimeout <= 0 || p.CallTimeout <= 0 {
			t.Errorf("not valid: %+v", p)
		}
		if raw := p.ConfigurationJSON(); !json.Valid(raw) {
			t.Errorf("configuration of %s: not JSON: %s", p.Callsign, raw)
		}
	}
}
