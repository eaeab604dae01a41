package access

import (
	"cmp"
	"fmt"
)

// RefusalError is the error for a client that may not do something. Its text names the role
// that is missing and how the operator grants it.
type RefusalError struct {
	Client      Client
	Needed, Has Role
	Target      Target
	grant       string // the row that would name the client, such as `user = "alice"`
}

// Error returns the reason for the client and the operator.
func (r *RefusalError) Error() string {
	if r.Needed == None {
		return fmt.Sprintf("%s is not for clients", r.Target.Method)
	}
	if r.grant == "" {
		return fmt.Sprintf("%s needs the role %s, and the host does not know who calls; connect as a local user, send a token as \"Authorization: Bearer TOKEN\", or show a client certificate", r.what(), r.Needed)
	}
	return fmt.Sprintf("%s needs the role %s, %s has %s; the operator grants it by [[access]] with %s and role = %q",
		r.what(), r.Needed, r.Client, r.Has, r.grant, r.Needed)
}

// what returns the target for the text.
func (r *RefusalError) what() string {
	method := cmp.Or(shortened(r.Target.Method), "this")
	if r.Target.Callsign == "" {
		return method
	}
	return method + " of " + shortened(r.Target.Callsign)
}

// IsUnauthenticated reports whether the client showed nothing by which the host could
// know it.
func (r *RefusalError) IsUnauthenticated() bool { return r.grant == "" }

// grantHint returns the key of a row that would name the client, empty for a stranger.
func (g *Guard) grantHint(c Client) string {
	switch {
	case c.Plugin != "":
		return fmt.Sprintf("plugin = %q", c.Plugin)
	case c.Certificate != "":
		return fmt.Sprintf("certificate = %q", c.Certificate)
	case nameOfToken(g.rules.Load().Tokens, c.Token) != "":
		return fmt.Sprintf("token = %q", nameOfToken(g.rules.Load().Tokens, c.Token))
	case c.User != nil:
		return fmt.Sprintf("user = %q", g.users.find(c.User.UID).name)
	}
	return ""
}
