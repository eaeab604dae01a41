package configs_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

// TestReferenceFile keeps dormouse.toml true: as shipped it is Default, and with
// the plugin section uncommented it sets every key there is to its default.
func TestReferenceFile(t *testing.T) {
	shipped, err := configs.Load("dormouse.toml", nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Default()
	want.Hibernate.Dir = "/var/lib/dormouse/images"
	if diff := cmp.Diff(want, shipped); diff != "" {
		t.Errorf("dormouse.toml is not Default (-want +got):\n%s", diff)
	}

	text, err := os.ReadFile("dormouse.toml")
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^#([^ \n])`).ReplaceAll(text, []byte("$1"))
	path := write(t, "dormouse.toml", string(text))
	full, err := configs.Load(path, nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	plugin := configs.DefaultPlugin()
	plugin.Callsign = "Counter"
	plugin.Executable = "/usr/lib/dormouse/plugins/counter"
	resumed := plugin.StartsResumed()
	plugin.Resume = &resumed
	plugin.CheckpointAfter = new(configs.Duration(10 * time.Minute)) // stands for none
	plugin.Limits.Swap = new(configs.Bytes(64 << 20))                // likewise
	sleeps := plugin.MayAutoHibernate()
	plugin.AutoHibernate = &sleeps
	want.Plugins = []configs.Plugin{plugin}
	want.Listeners = []configs.Listener{{Address: "127.0.0.1:9997", Protocol: configs.ProtocolJSONRPC, Dialect: configs.DialectR4}}
	want.QHAna.Enabled = new(bool)
	want.Flows.Remotes = []configs.Remote{{Topic: "frames", NATS: "nats://queue.example:4222", Subject: "tv.frames"}}
	want.Access = []configs.Access{
		{User: "tv", Role: configs.RoleCall, Callsigns: []string{"Player*"}, Methods: []string{"*"}},
		{Group: "video", Role: configs.RoleOperate},
		{Token: "phone", Role: configs.RoleCall},
		{Certificate: "box.example", Role: configs.RoleAdmin},
		{Plugin: "Launcher", Role: configs.RoleOperate},
	}
	if diff := cmp.Diff(want, full); diff != "" {
		t.Errorf("the plugin section is not DefaultPlugin (-want +got):\n%s", diff)
	}

	meta, err := toml.Decode(string(text), &map[string]any{})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, key := range meta.Keys() {
		keys = append(keys, key.String())
	}
	slices.Sort(keys)
	keys = slices.Compact(keys) // several rows of one table
	if diff := cmp.Diff(keysOf("", reflect.TypeFor[configs.Config]()), keys); diff != "" {
		t.Errorf("dormouse.toml does not set every key (-want +got):\n%s", diff)
	}
}

// keysOf lists the keys of a configuration type by their tags, tables included.
func keysOf(prefix string, typ reflect.Type) []string {
	var keys []string
	for field := range typ.Fields() {
		if field.Anonymous {
			keys = append(keys, keysOf(prefix, field.Type)...)
			continue
		}
		if field.Tag.Get("toml") == "-" {
			continue
		}
		key := prefix + field.Tag.Get("toml")
		keys = append(keys, key)
		inner := field.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			keys = append(keys, keysOf(key+".", inner)...)
		}
	}
	slices.Sort(keys)
	return keys
}

func TestSampleFile(t *testing.T) {
	got, err := configs.Load("sample.toml", nil, configs.Overrides{Root: "/tmp/d"})
	if err != nil {
		t.Fatal(err)
	}
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	resumed := true
	counter := configs.DefaultPlugin()
	counter.Callsign = "Counter"
	counter.Executable = repository + "/bin/plugins/counter"
	counter.StartMode = configs.StartActivated
	counter.Resume = &resumed
	counter.Configuration = map[string]any{"start": int64(41)}
	echo := configs.DefaultPlugin()
	echo.Callsign = "Echo"
	echo.Executable = repository + "/bin/plugins/echo"
	echo.StartMode = configs.StartActivated
	if diff := cmp.Diff([]configs.Plugin{counter, echo}, got.Plugins); diff != "" {
		t.Errorf("plugins (-want +got):\n%s", diff)
	}
}

// TestEncode holds that the tags say the same as the reader of the keys.
func TestEncode(t *testing.T) {
	resumed := false
	plugin := configs.DefaultPlugin()
	plugin.Callsign, plugin.Executable = "A", "a"
	plugin.Arguments = []string{"-v"}
	plugin.Environment = map[string]string{"B": "c"}
	plugin.Configuration = map[string]any{"d": int64(1)}
	plugin.Resume = &resumed
	want := configs.Default()
	want.Host.AllowedOrigins = []string{"https://tv.example:8443", "file://", "null"}
	want.Host.AllowedHosts = []string{"tv.example"}
	want.Host.WebUIDialect, plugin.WebUIDialect = configs.DialectR5, configs.DialectR4
	want.Hibernate.Criu, want.Hibernate.Dir = "/criu", "/images"
	want.Plugins = []configs.Plugin{plugin}
	text, err := toml.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := configs.Load(write(t, "x.toml", string(text)), nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestResumed(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		mode   configs.StartMode
		resume *bool
		want   bool
	}{
		{configs.StartDeactivated, nil, false},
		{configs.StartUnavailable, nil, false},
		{configs.StartActivated, nil, true},
		{configs.StartActivated, &no, false},
		{configs.StartDeactivated, &yes, true},
	} {
		p := configs.Plugin{StartMode: test.mode, Resume: test.resume}
		if got := p.StartsResumed(); got != test.want {
			t.Errorf("start-mode %s, resumed %v: got %v", test.mode, test.resume, got)
		}
	}
}

func TestConfigurationJSON(t *testing.T) {
	path := write(t, "x.toml", `
[[plugin]]
callsign = "A"
executable = "a"
[plugin.configuration]
big = 9007199254740993
ratio = 0.5
list = [1, "two", { three = 3 }]
instant = 1979-05-27T07:32:00.5+02:00
zulu = 1979-05-27 07:32:00Z
local = 1979-05-27T07:32:00
day = 1979-05-27
time = 07:32:00.25
[[plugin.configuration.rules]]
name = "x"
[[plugin.configuration.rules]]
since = 2020-01-01
[[plugin]]
callsign = "B"
executable = "b"
configuration = {}
`)
	c, err := configs.Load(path, nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"big":9007199254740993,"day":"1979-05-27","instant":"1979-05-27T07:32:00.5+02:00",` +
			`"list":[1,"two",{"three":3}],"local":"1979-05-27T07:32:00","ratio":0.5,` +
			`"rules":[{"name":"x"},{"since":"2020-01-01"}],"time":"07:32:00.25","zulu":"1979-05-27T07:32:00Z"}`,
		`{}`,
	}
	got := []string{string(c.Plugins[0].ConfigurationJSON()), string(c.Plugins[1].ConfigurationJSON())}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDurationText(t *testing.T) {
	d := configs.Duration(90 * time.Second)
	text, err := d.MarshalText()
	if err != nil || string(text) != "1m30s" {
		t.Errorf("got %q, %v", text, err)
	}
	for text, want := range map[string]string{
		"2h":  "",
		"":    `"" is not a duration such as "1m30s"`,
		"10":  `"10" is not a duration such as "1m30s"`,
		"0s":  `"0s" must be more than zero`,
		"-1s": `"-1s" must be more than zero`,
	} {
		d := configs.Duration(time.Minute)
		got := ""
		if err := d.UnmarshalText([]byte(text)); err != nil {
			got = err.Error()
			if d != configs.Duration(time.Minute) {
				t.Errorf("%q: changed to %s despite the error", text, d)
			}
		}
		if got != want {
			t.Errorf("%q: got error %q, want %q", text, got, want)
		}
	}
}

func TestCheckCallsign(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, good := range []string{"A", "org.rdk.Counter_1-b", "X.1.Y", "rpcs", "X.rpc.Y", long} {
		if err := configs.CheckCallsign(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	const form = `is not a callsign: it must be a letter, then at most 63 letters, digits, "_", "." or "-"`
	for bad, want := range map[string]string{
		"":             `a callsign must not be empty`,
		"9a":           `"9a" ` + form,
		"a/b":          `"a/b" ` + form,
		"a\n":          `"a\n" ` + form,
		long + "a":     `"` + long + `a" ` + form,
		"a..b":         `"a..b" is not a callsign: it must not hold ".." nor end in "."`,
		"a.":           `"a." is not a callsign: it must not hold ".." nor end in "."`,
		"controller":   `the callsign "controller" is reserved: the host itself answers to it`,
		"Communicator": `the callsign "Communicator" is reserved: a socket of the host is called so, beside the instances' directories`,
		"control":      `the callsign "control" is reserved: a socket of the host is called so, beside the instances' directories`,
		"X.1":          `"X.1" can't be a callsign: a call of "X.1.method" means "method" of "X" in version 1; call it "X-1", for example`,
		"Rpc":          `"Rpc" can't be a callsign: a call of "rpc.discover" means the whole host; call it "Rpc-1", for example`,
		"X.RPC":        `"X.RPC" can't be a callsign: a call of "x.rpc.discover" means "rpc.discover" of "x" in version 1; call it "X-RPC", for example`,
		"rpc.X":        `"rpc.X" can't be a callsign: JSON-RPC reserves names that begin with "rpc."; call it "rpc-X", for example`,
	} {
		if err := configs.CheckCallsign(bad); err == nil || err.Error() != want {
			t.Errorf("%q: got error %v, want %s", bad, err, want)
		}
	}
}

// write puts a file into a directory of its own and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	return writeIn(t, t.TempDir(), name, text)
}

func writeIn(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
