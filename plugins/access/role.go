// Package access decides what a client may do: it has the roles, what is known of a
// client, and the rules that give a client its role. It does not know which methods
// there are, nor how a client connected.
package access

import "dormouse/configs"

// Role is what a client may do. Each role includes those before it.
type Role int

// The roles. None allows nothing; a method for which no role is set may not be called.
const (
	None    Role = iota
	Read         // see states, figures and the host's events
	Call         // call plugins and get their events
	Operate      // move instances along their lifecycle
	Admin        // change what instances there are, their configuration, the host
)

// roleNames holds the roles' names in the configuration and in errors.
var roleNames = [...]string{
	None: "none", Read: string(configs.RoleRead), Call: string(configs.RoleCall),
	Operate: string(configs.RoleOperate), Admin: string(configs.RoleAdmin),
}

// String returns the role's name in the configuration, "none" for None.
func (r Role) String() string { return roleNames[r] }

// RoleByName returns the role of that name in the configuration, None for any other name.
func RoleByName(name configs.Role) Role {
	for role, known := range roleNames {
		if string(name) == known {
			return Role(role)
		}
	}
	return None
}
