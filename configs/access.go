package configs

import (
	"errors"
	"fmt"
	"path"
	"slices"
)

// Role is what a client may do. Each role includes those before it.
type Role string

// The values of the key "role": see states, figures and the host's events; call plugins
// and get their events; move instances along their lifecycle; change what runs, with
// which configuration and rights.
const (
	RoleRead    Role = "read"
	RoleCall    Role = "call"
	RoleOperate Role = "operate"
	RoleAdmin   Role = "admin"
)

// Access is a table [[access]]: it grants Role to the clients that the one key of User,
// Group, Token, Certificate and Plugin names which is not empty.
type Access struct {
	User  string `toml:"user"`  // a local user, by name or number
	Group string `toml:"group"` // a group of local users, by name or number
	// Token is the name of a token, and Certificate the common name in a client
	// certificate.
	Token       string `toml:"token"`
	Certificate string `toml:"certificate"`
	// Plugin is the callsign of a plugin that calls others over its host socket.
	Plugin string `toml:"plugin"`

	Role Role `toml:"role"`

	// Callsigns and Methods are patterns, see path.Match. The row counts for calls that
	// are about such an instance, and of such a method. Lists that are left out match all.
	Callsigns []string `toml:"callsigns"`
	Methods   []string `toml:"methods"`
}

// readAccess reads a table [[access]] and adds the row to the configuration.
func (f *configFile) readAccess(t *tableReader) {
	var a Access
	t.ReadText("user", &a.User, checkNotEmpty)
	t.ReadText("group", &a.Group, checkNotEmpty)
	t.ReadText("token", &a.Token, checkNotEmpty)
	t.ReadText("certificate", &a.Certificate, checkNotEmpty)
	t.ReadText("plugin", &a.Plugin, CheckCallsign)
	readAllowedWord(t, "role", &a.Role, RoleRead, RoleCall, RoleOperate, RoleAdmin)
	t.readPatterns("callsigns", &a.Callsigns)
	t.readPatterns("methods", &a.Methods)
	t.refersTo(ReferenceUser, "user", a.User)
	t.refersTo(ReferenceGroup, "group", a.Group)
	t.ReportMissingKeys("role")
	if given := len(slices.DeleteFunc([]string{a.User, a.Group, a.Token, a.Certificate, a.Plugin}, func(s string) bool { return s == "" })); given != 1 {
		t.AddProblem("", `exactly one of the keys "user", "group", "token", "certificate" and "plugin" must stand %s`, t.Name)
	}
	t.ReportUnknownKeys()
	f.config.Access = append(f.config.Access, a)
}

// readPatterns reads a list of patterns, which must have one at least: no pattern would look
// as if the row granted nothing.
func (t *tableReader) readPatterns(key string, to *[]string) {
	t.ReadTextList(key, to, checkPattern)
	if list, isList := t.Values()[key].([]any); isList && len(list) == 0 {
		t.AddProblem(key, `key %q %s must not be empty; leave it out to grant the role for all`, key, t.Name)
	}
}

// checkPattern returns an error if the pattern is empty or malformed, see path.Match.
func checkPattern(pattern string) error {
	if pattern == "" {
		return errors.New("must not be empty")
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf(`%q is not a pattern such as "Player*"`, pattern)
	}
	return nil
}
