package access

import (
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"dormouse/configs"
)

// Guard decides whether a client may do something. Its rules can be replaced at any time.
type Guard struct {
	rules atomic.Pointer[Rules]
	users userDatabase

	mu        sync.Mutex // guards listeners, and changes of rules
	listeners map[*func()]bool
}

// Rules say which clients have which role. The zero Rules are the defaults: root and the
// host's own user have the role Admin, other local users Read, plugins Admin for
// themselves and Call for others.
type Rules struct {
	Open configs.Role // of every client on a loopback address, at least; empty for none
	Rows []configs.Access
	// OperatorGroup is a group whose members have the role Operate besides those of the
	// group "dormouse"; empty for none.
	OperatorGroup string
	Tokens        []Token // the valid ones
}

// DefaultGroup is the group whose members have the role Operate.
const DefaultGroup = "dormouse"

// Target is what a client wants to do.
type Target struct {
	// Callsign is the instance that it is about, empty for the host or all instances.
	Callsign string
	// Method is the name of the JSON-RPC method or of its twin, and Aliases are further
	// names of the method.
	Method  string
	Aliases []string
}

// NewGuard returns a guard with those rules.
func NewGuard(r Rules) *Guard {
	g := &Guard{listeners: make(map[*func()]bool)}
	g.rules.Store(&r)
	return g
}

// SetRules replaces the rules except the tokens, for clients that are connected too. If
// they differ, it tells the listeners and returns true.
func (g *Guard) SetRules(r Rules) (differ bool) {
	return g.change(func(now Rules) Rules {
		r.Tokens = now.Tokens
		return r
	})
}

// SetTokens replaces the valid tokens, and tells the listeners.
func (g *Guard) SetTokens(tokens []Token) {
	g.change(func(now Rules) Rules {
		now.Tokens = slices.Clip(append([]Token(nil), tokens...))
		return now
	})
}

// change replaces the rules by those that edit returns. If they differ, it tells the
// listeners and returns true.
func (g *Guard) change(edit func(Rules) Rules) (differ bool) {
	g.mu.Lock()
	now := *g.rules.Load()
	changed := edit(now)
	g.rules.Store(&changed)
	listeners := slices.Collect(maps.Keys(g.listeners))
	g.mu.Unlock()
	if reflect.DeepEqual(now, changed) {
		return false
	}
	for _, tell := range listeners {
		(*tell)()
	}
	return true
}

// Listen calls changed after each change of the rules, until stop is called.
func (g *Guard) Listen(changed func()) (stop func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listeners[&changed] = true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.listeners, &changed)
	}
}

// Check returns nil if the client has the role needed, or a higher one, for the target;
// else a *RefusalError.
func (g *Guard) Check(c Client, needed Role, t Target) error {
	if has := g.RoleOf(c, t); needed == None || has < needed {
		return &RefusalError{Client: c, Needed: needed, Has: has, Target: t, grant: g.grantHint(c)}
	}
	return nil
}

// CheckReaches returns nil if the client has a role for some method of the target's
// instance, or, with an empty callsign, for anything at all; else a *RefusalError. A front asks
// it before it says whether an instance exists.
func (g *Guard) CheckReaches(c Client, t Target) error {
	rules := g.rules.Load()
	if g.roleWithoutRows(rules, c, t) > None {
		return nil
	}
	for _, row := range rules.Rows {
		if (t.Callsign == "" || matches(row.Callsigns, t.Callsign)) && g.names(rules, row, c) {
			return nil
		}
	}
	return &RefusalError{Client: c, Needed: Read, Target: t, grant: g.grantHint(c)}
}

// RoleOf returns the client's role for the target: the highest that any rule gives.
func (g *Guard) RoleOf(c Client, t Target) Role {
	rules := g.rules.Load()
	role := g.roleWithoutRows(rules, c, t)
	for _, row := range rules.Rows {
		if granted := RoleByName(row.Role); granted > role && matches(row.Callsigns, t.Callsign) && t.methodMatches(row.Methods) && g.names(rules, row, c) {
			role = granted
		}
	}
	return role
}

// roleWithoutRows returns the client's role for the target where no row gives a higher one.
func (g *Guard) roleWithoutRows(rules *Rules, c Client, t Target) Role {
	role := None
	if c.Loopback {
		role = RoleByName(rules.Open)
	}
	switch {
	case c.Plugin != "" && c.Plugin == t.Callsign:
		return Admin
	case c.Plugin != "":
		role = max(role, Call)
	case c.IsPrivileged():
		return Admin
	case c.User != nil && g.isInGroup(c.User, DefaultGroup, rules.OperatorGroup):
		role = max(role, Operate)
	case c.User != nil:
		role = max(role, Read)
	}
	return role
}

// Grants returns a text about all that the rules grant the client. If it is the same at
// two times, the client may do the same.
func (g *Guard) Grants(c Client) string {
	rules := g.rules.Load()
	rows := slices.DeleteFunc(slices.Clone(rules.Rows), func(row configs.Access) bool { return !g.names(rules, row, c) })
	return fmt.Sprint(g.RoleOf(c, Target{}), nameOfToken(rules.Tokens, c.Token), rows)
}

// IsKnown reports whether the client showed anything by which the host knows it: a local
// user, a valid token, or a certificate. A loopback client is known if all may do
// something.
func (g *Guard) IsKnown(c Client) bool {
	rules := g.rules.Load()
	return c.User != nil || c.Plugin != "" || c.Certificate != "" ||
		nameOfToken(rules.Tokens, c.Token) != "" || c.Loopback && rules.Open != ""
}

// names reports whether the row names the client.
func (g *Guard) names(rules *Rules, row configs.Access, c Client) bool {
	switch {
	case row.User != "":
		return c.User != nil && (row.User == strconv.Itoa(c.User.UID) || row.User == g.users.find(c.User.UID).name)
	case row.Group != "":
		return c.User != nil && g.isInGroup(c.User, row.Group)
	case row.Token != "":
		return nameOfToken(rules.Tokens, c.Token) == row.Token
	case row.Certificate != "":
		return c.Certificate == row.Certificate
	default:
		return row.Plugin != "" && c.Plugin == row.Plugin
	}
}

// isInGroup reports whether the user is in one of the groups, which are names or numbers;
// empty ones are ignored.
func (g *Guard) isInGroup(u *User, groups ...string) bool {
	known := g.users.find(u.UID).groups
	return slices.ContainsFunc(groups, func(group string) bool {
		if group == "" {
			return false
		}
		if slices.Contains(known, group) {
			return true
		}
		gid, isKnown := g.users.groupID(group)
		return isKnown && slices.Contains(u.Groups, gid)
	})
}

// methodMatches reports whether one of the method's names matches one of the patterns, or
// there are none.
func (t Target) methodMatches(patterns []string) bool {
	return matches(patterns, t.Method) || slices.ContainsFunc(t.Aliases, func(alias string) bool { return matches(patterns, alias) })
}

// matches reports whether the name matches one of the patterns, or there are none. The
// patterns are well-formed: configs has checked them.
func matches(patterns []string, name string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(pattern string) bool {
		matched, _ := path.Match(withoutSlashes(pattern), withoutSlashes(name))
		return matched
	})
}

// withoutSlashes returns the text with ":" for each slash, which "*" would not match: the
// methods of gRPC have slashes.
func withoutSlashes(text string) string { return strings.ReplaceAll(text, "/", ":") }
