package access

import (
	"testing"

	"dormouse/configs"
)

// stranger is no user of a test machine.
const stranger = 54321

// Every rule by which a client gets a role.
func TestRoleOf(t *testing.T) {
	secret := TokenDigest{1}
	user := Client{User: &User{UID: stranger}}
	rules := func(rows ...configs.Access) Rules {
		return Rules{Rows: rows, Tokens: []Token{{Name: "tv", Digest: secret}}}
	}
	for name, c := range map[string]struct {
		client Client
		rules  Rules
		target Target
		want   Role
	}{
		"stranger":                 {want: None},
		"stranger where all may":   {client: Client{Loopback: true}, rules: Rules{Open: "operate"}, want: Operate},
		"far stranger":             {rules: Rules{Open: "operate"}, want: None},
		"root":                     {client: Client{User: &User{}}, want: Admin},
		"the host":                 {client: HostItself(), want: Admin},
		"local user":               {client: user, want: Read},
		"local user where all may": {client: Client{Loopback: true, User: user.User}, rules: Rules{Open: "call"}, want: Call},
		"named by number":          {client: user, rules: rules(configs.Access{User: "54321", Role: "operate"}), want: Operate},
		"another user":             {client: user, rules: rules(configs.Access{User: "54322", Role: "operate"}), want: Read},
		"the process's group":      {client: Client{User: &User{UID: stranger, Groups: []uint32{4242}}}, rules: rules(configs.Access{Group: "4242", Role: "admin"}), want: Admin},
		"operators":                {client: Client{User: &User{UID: stranger, Groups: []uint32{4242}}}, rules: Rules{OperatorGroup: "4242"}, want: Operate},
		"token":                    {client: Client{Token: secret}, rules: rules(configs.Access{Token: "tv", Role: "call"}), want: Call},
		"revoked token":            {client: Client{Token: TokenDigest{2}}, rules: rules(configs.Access{Token: "tv", Role: "call"}), want: None},
		"token without a row":      {client: Client{Token: secret}, rules: rules(), want: None},
		"certificate":              {client: Client{Certificate: "box"}, rules: rules(configs.Access{Certificate: "box", Role: "operate"}), want: Operate},
		"no certificate":           {client: Client{}, rules: rules(configs.Access{Certificate: "box", Role: "operate"}), want: None},
		"plugin on itself":         {client: Client{Plugin: "A"}, target: Target{Callsign: "A"}, want: Admin},
		"plugin on another":        {client: Client{Plugin: "A"}, target: Target{Callsign: "B"}, want: Call},
		"plugin on the host":       {client: Client{Plugin: "A"}, want: Call},
		"plugin that may":          {client: Client{Plugin: "A"}, rules: rules(configs.Access{Plugin: "A", Role: "operate"}), target: Target{Callsign: "B"}, want: Operate},
		"for this callsign":        {client: user, rules: rules(configs.Access{User: "54321", Role: "admin", Callsigns: []string{"X", "Pl*"}}), target: Target{Callsign: "Player"}, want: Admin},
		"for another callsign":     {client: user, rules: rules(configs.Access{User: "54321", Role: "admin", Callsigns: []string{"Pl*"}}), target: Target{Callsign: "X"}, want: Read},
		"for this method":          {client: user, rules: rules(configs.Access{User: "54321", Role: "admin", Methods: []string{"act*"}}), target: Target{Method: "activate"}, want: Admin},
		"for an alias":             {client: user, rules: rules(configs.Access{User: "54321", Role: "admin", Methods: []string{"harakiri"}}), target: Target{Method: "reboot", Aliases: []string{"harakiri"}}, want: Admin},
		"for all methods of gRPC":  {client: user, rules: rules(configs.Access{User: "54321", Role: "call", Methods: []string{"*"}}), target: Target{Callsign: "A", Method: "/tuner.v1.Tuner/Tune"}, want: Call},
		"for a service of gRPC":    {client: user, rules: rules(configs.Access{User: "54321", Role: "call", Methods: []string{"/tuner.v1.Tuner/*"}}), target: Target{Callsign: "A", Method: "/tuner.v1.Tuner/Tune"}, want: Call},
		"for another service":      {client: user, rules: rules(configs.Access{User: "54321", Role: "call", Methods: []string{"/tuner.v1.Tuner/*"}}), target: Target{Callsign: "A", Method: "/tuner.v1.Other/Tune"}, want: Read},
		"for another method":       {client: user, rules: rules(configs.Access{User: "54321", Role: "admin", Methods: []string{"act*"}}), target: Target{Method: "clone"}, want: Read},
		"a row never takes a role": {client: Client{User: &User{}}, rules: rules(configs.Access{User: "0", Role: "read"}), want: Admin},
		"the highest of several":   {client: user, rules: rules(configs.Access{User: "54321", Role: "call"}, configs.Access{User: "54321", Role: "operate"}), want: Operate},
	} {
		if got := NewGuard(c.rules).RoleOf(c.client, c.target); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A refusal says which role is missing and how to grant it.
func TestRefusal(t *testing.T) {
	g := NewGuard(Rules{})
	err := g.Check(Client{User: &User{UID: 54321}, Address: "127.0.0.1:4242"}, Operate, Target{Callsign: "A", Method: "activate"})
	const want = `activate of A needs the role operate, user 54321 from 127.0.0.1:4242 has read; the operator grants it by [[access]] with user = "54321" and role = "operate"`
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if err := g.Check(HostItself(), None, Target{Method: "secret"}); err == nil {
		t.Error("a method without a role may be called")
	}
}
