package configs_test

import (
	"strings"
	"testing"
	"time"

	"dormouse/configs"
)

func TestBytesText(t *testing.T) {
	for text, want := range map[string]configs.Bytes{
		"0": 0, "1": 1, "17B": 17, "64MiB": 64 << 20, "1536 KiB": 1536 << 10, "2GiB": 2 << 30, "1TiB": 1 << 40,
	} {
		var b, again configs.Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%s: got %d, %v; want %d", text, b, err, want)
		}
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%s: %s is read back as %d, %v", text, b, again, err)
		}
	}
	for _, text := range []string{"", "MiB", "64MB", "1.5GiB", "-1", "-1MiB", "9000000TiB", "many"} {
		b := configs.Bytes(7)
		if err := b.UnmarshalText([]byte(text)); err == nil || b != 7 {
			t.Errorf("%q: got %d and error %v", text, b, err)
		}
	}
}

func TestIdleText(t *testing.T) {
	for text, want := range map[string]configs.IdleTime{"never": 0, "5m": configs.IdleTime(5 * time.Minute)} {
		var i, again configs.IdleTime
		if err := i.UnmarshalText([]byte(text)); err != nil || i != want {
			t.Errorf("%s: got %s, %v", text, i, err)
		}
		if err := again.UnmarshalText([]byte(i.String())); err != nil || again != i {
			t.Errorf("%s: %s is read back as %s, %v", text, i, again, err)
		}
	}
	for _, text := range []string{"", "0s", "-1m", "Never", "soon"} {
		i := configs.IdleTime(7)
		if err := i.UnmarshalText([]byte(text)); err == nil || i != 7 {
			t.Errorf("%q: got %s and error %v", text, i, err)
		}
	}
}

func TestMaySleep(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		name   string
		change func(*configs.Plugin)
		want   bool
	}{
		{"by default", func(*configs.Plugin) {}, false},
		{"calls wake it", func(p *configs.Plugin) { p.OnCall = configs.OnCallWake }, true},
		{"it sleeps when idle", func(p *configs.Plugin) { p.IdleHibernate = configs.IdleTime(time.Minute) }, true},
		{"it is suspended when idle", func(p *configs.Plugin) { p.IdleSuspend = configs.IdleTime(time.Minute) }, false},
		{"allowed", func(p *configs.Plugin) { p.AutoHibernate = &yes }, true},
		{"forbidden", func(p *configs.Plugin) { p.OnCall, p.AutoHibernate = configs.OnCallWake, &no }, false},
	} {
		p := configs.DefaultPlugin()
		test.change(&p)
		if got := p.MayAutoHibernate(); got != test.want {
			t.Errorf("%s: got %t", test.name, got)
		}
	}
}

func TestTiersAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"[hibernate]\npressure = \"maybe\"":                                                             `"maybe" is not "off"`,
		"[hibernate]\npressure-window = \"20s\"":                                                        "must be between 500ms and 10s",
		"[hibernate]\npressure-some = \"3s\"":                                                           "must not be longer than the window, 2s",
		"[hibernate]\nmemory-available = \"64MB\"":                                                      `"64MB" is not a size`,
		"[hibernate]\nbudget-bytes = 5":                                                                 `must be a size such as "64MiB", not an integer`,
		"[[plugin]]\ncallsign=\"A\"\nexecutable=\"a\"\nidle-suspend = \"0s\"":                           `or "never"`,
		"[[plugin]]\ncallsign=\"A\"\nexecutable=\"a\"\nauto-hibernate = false\nidle-hibernate = \"1m\"": "contradict each other",
	} {
		_, err := configs.Load(write(t, "dormouse.toml", text), nil, configs.Overrides{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want %s", text, err, want)
		}
	}
}
