package configs_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

func TestQHAnaTable(t *testing.T) {
	got, err := configs.Load(write(t, "x.toml", `
[host]
public-url = "http://192.168.7.2:9998/"
[[listener]]
address = "0.0.0.0:9997"
only = "qhana"
[qhana]
role = "operate"
from = ["192.168.7.0/24", "::1"]
registries = ["http://127.0.0.1:5006/api/"]
`), nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	want := configs.QHAna{Role: configs.RoleOperate, From: []string{"192.168.7.0/24", "::1"}, Registries: []string{"http://127.0.0.1:5006/api/"}}
	if diff := cmp.Diff(want, got.QHAna); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.Host.PublicURL != "http://192.168.7.2:9998" {
		t.Errorf("public-url is %q, with a slash at its end", got.Host.PublicURL)
	}
	if !got.ServesQHAna() {
		t.Error("a host with a public URL does not serve QHAna")
	}
	networks := []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"), netip.MustParsePrefix("::1/128")}
	if diff := cmp.Diff(networks, got.QHAna.Networks(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestQHAnaIsServed(t *testing.T) {
	for text, want := range map[string]bool{
		"": false,
		"[host]\npublic-url = \"http://127.0.0.1:9998\"":                           true,
		"[host]\npublic-url = \"http://127.0.0.1:9998\"\n[qhana]\nenabled = false": false,
		"[host]\npublic-url = \"http://127.0.0.1:9998\"\n[qhana]\nenabled = true":  true,
	} {
		got, err := configs.Load(write(t, "x.toml", text), nil, configs.Overrides{})
		if err != nil || got.ServesQHAna() != want {
			t.Errorf("%s\nServesQHAna() is %t, %v; want %t", text, got.ServesQHAna(), err, want)
		}
	}
}

func TestWrongQHAnaTable(t *testing.T) {
	const url = "[host]\npublic-url = \"http://127.0.0.1:9998\"\n"
	for text, want := range map[string]string{
		url + "[qhana]\nrole = \"boss\"":                                                          `key "role" in [qhana]: "boss" is not "read", "call", "operate" or "admin"`,
		url + "[qhana]\nfrom = [\"192.168.7.1/24\"]":                                              `key "from[0]" in [qhana]: "192.168.7.1/24" is not a network such as "192.168.7.0/24", nor an address`,
		url + "[qhana]\nregistries = [\"registry:5006\"]":                                         `key "registries[0]" in [qhana]: "registry:5006" is not a URL of a registry's API such as "http://127.0.0.1:5006/api/"`,
		url + "[qhana]\nenable = true":                                                            `unknown key "enable" in [qhana]: did you mean "enabled"?`,
		url + "[[listener]]\naddress = \"0.0.0.0:1\"\nonly = \"qhana\"\nprotocol = \"grpc\"":      `key "only" in [[listener]] goes with neither "dialect" nor protocol = "grpc"`,
		url + "[[listener]]\naddress = \"0.0.0.0:1\"\nonly = \"qhana\"\ndialect = \"thunder-r4\"": `key "only" in [[listener]] goes with neither "dialect" nor protocol = "grpc"`,
		"[[listener]]\naddress = \"0.0.0.0:1\"\nonly = \"qhana\"":                                 `a listener with only = "qhana" has nothing to serve: set "public-url" in [host], and not enabled = false in [qhana]`,
		"[qhana]\nenabled = true":                                                                 `[qhana] needs the key "public-url" in [host]: all links begin with it`,
		url + "[qhana]\nenabled = false\nregistries = [\"http://127.0.0.1:5006/api/\"]":           `[qhana] has registries, but the host does not serve QHAna: set "public-url" in [host], and not enabled = false`,
	} {
		_, err := configs.Load(write(t, "x.toml", text), nil, configs.Overrides{})
		if err == nil || !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestCheckPublicURL(t *testing.T) {
	for url, right := range map[string]bool{
		"":                               true,
		"http://192.168.7.2:9998":        true,
		"https://[2001:db8::1]:9998":     true,
		"http://localhost:9998":          true,
		"https://tv.example":             true,
		"https://tv.example/box":         true,
		"http://dormouse:9998":           false, // marshmallow refuses it
		"http://my_box.example":          false,
		"http://tv.e":                    false,
		"http://-tv.example":             false,
		"ftp://tv.example":               false,
		"tv.example:9998":                false,
		"http://":                        false,
		"http://tv.example:0":            false,
		"http://tv.example:99999":        false,
		"http://user@tv.example":         false,
		"http://tv.example?a=b":          false,
		"http://tv.example#a":            false,
		"http://tv.example/with a space": false,
	} {
		if err := configs.CheckPublicURL(url); (err == nil) != right {
			t.Errorf("CheckPublicURL(%q) = %v; right: %t", url, err, right)
		}
	}
}
