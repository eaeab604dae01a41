package configs_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

func TestFlowsTable(t *testing.T) {
	got, err := configs.Load(write(t, "x.toml", `
[flows]
max-messages = 0
max-bytes = "64MiB"
wake-messages = 1
wake-after = "1m"
`), nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Flows{MaxBytes: 64 << 20, WakeMessages: 1, WakeAfter: configs.Duration(time.Minute)}
	if diff := cmp.Diff(want, got.Flows); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongFlowsTable(t *testing.T) {
	for text, want := range map[string]string{
		`max-messages = -1`: `key "max-messages" in [flows]: -1 is not between 0 and 2147483647`,
		`max-bytes = "big"`: `key "max-bytes" in [flows]: "big" is not a size such as "64MiB"`,
		`wake-messages = 0`: `key "wake-messages" in [flows]: 0 is not between 1 and 2147483647`,
		`wake-after = "0s"`: `key "wake-after" in [flows]: "0s" must be more than zero`,
		`wake-afer = "1s"`:  `unknown key "wake-afer" in [flows]: did you mean "wake-after"?`,
	} {
		_, err := configs.Load(write(t, "x.toml", "[flows]\n"+text), nil, configs.Overrides{})
		if err == nil || !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestRemoteTopics(t *testing.T) {
	path := write(t, "x.toml", `
[[flows.remote]]
topic = "frames"
nats = "nats://one.example:4222, tls://two.example"
subject = "tv.frames"
user = "tv"
password-file = "secret"

[[flows.remote]]
topic = "sounds"
nats = "nats://127.0.0.1:4222"
subject = "tv.sounds"
stream = "sounds"
durable = "kitchen"
credentials = "/etc/tv.creds"
ca = "/etc/ca.pem"
certificate = "/etc/tv.pem"
key = "/etc/tv.key"
`)
	got, err := configs.Load(path, nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	want := []configs.Remote{
		{Topic: "frames", NATS: "nats://one.example:4222, tls://two.example", Subject: "tv.frames", User: "tv", PasswordFile: filepath.Join(filepath.Dir(path), "secret")},
		{
			Topic: "sounds", NATS: "nats://127.0.0.1:4222", Subject: "tv.sounds", Stream: "sounds", Durable: "kitchen",
			Credentials: "/etc/tv.creds", CA: "/etc/ca.pem", Certificate: "/etc/tv.pem", Key: "/etc/tv.key",
		},
	}
	if diff := cmp.Diff(want, got.Flows.Remotes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongRemoteTopics(t *testing.T) {
	const right = "[[flows.remote]]\ntopic = \"frames\"\nnats = \"nats://127.0.0.1\"\nsubject = \"tv.frames\"\n"
	for text, want := range map[string]string{
		"[[flows.remote]]\ntopic = \"frames\"\n":                        `key "nats" in [[flows.remote]] is missing`,
		right + right:                                                   `the topic "frames" in [[flows.remote]] is bound twice`,
		right + `user = "tv"`:                                           `"user" and "password-file" in [[flows.remote]] belong together`,
		right + `key = "/k"`:                                            `"certificate" and "key" in [[flows.remote]] belong together`,
		right + "token-file = \"/t\"\ncredentials = \"/c\"":             `only one of "credentials"`,
		right + `stream = "a.b"`:                                        `can't be the name of a stream`,
		right + `size = 1`:                                              `unknown key "size"`,
		strings.Replace(right, "nats://127", "http://127", 1):           `is not the URL of a NATS server`,
		strings.Replace(right, "nats://127", "nats://tv:secret@127", 1): `must hold no user or password`,
		strings.Replace(right, "tv.frames", "tv.*", 1):                  `is not a subject`,
		"[flows]\nremote = 1":                                           `a list of tables, each written [[flows.remote]]`,
	} {
		_, err := configs.Load(write(t, "x.toml", text), nil, configs.Overrides{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v\nwant %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}
