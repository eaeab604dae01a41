package configs_test

import (
	"fmt"
	"strings"
	"testing"

	"dormouse/configs"
)

func TestWebhooksTable(t *testing.T) {
	got, err := configs.Load(write(t, "x.toml", `
[webhooks]
allow = ["hooks.internal:8080", "10.0.0.0/8", ":8443", "[::1]:80"]
`), nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	if rules := fmt.Sprint(got.Webhooks.Rules()); rules != "[hooks.internal:8080 10.0.0.0/8 :8443 [::1]:80]" {
		t.Errorf("got %s", rules)
	}
}

func TestWrongWebhooksTable(t *testing.T) {
	for text, want := range map[string]string{
		`allow = ["http://x/"]`:   `key "allow[0]" in [webhooks]: "http://x/" is not a host name, an address, a network such as "10.0.0.0/8" or a port such as ":8080"`,
		`allow = ["10.0.0.0/40"]`: `"10.0.0.0/40" is not a host name`,
		`allow = ["x:99999"]`:     `a port is a number from 1 to 65535`,
		`alow = []`:               `unknown key "alow" in [webhooks]: did you mean "allow"?`,
	} {
		_, err := configs.Load(write(t, "x.toml", "[webhooks]\n"+text), nil, configs.Overrides{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}
