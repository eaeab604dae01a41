package access

import (
	"os/user"
	"strconv"
	"sync"
	"time"
)

// userDatabase looks up users and groups, and remembers what it found for a second. The
// zero value is ready.
type userDatabase struct {
	mu     sync.Mutex
	users  map[int]knownUser
	groups map[string]knownGroup
}

// knownUser is what the machine's database says of a user: the name, or the number if it
// has none, and the names and numbers of all its groups.
type knownUser struct {
	name   string
	groups []string
	until  time.Time
}

// knownGroup is the number of a group, if the machine has it.
type knownGroup struct {
	id     uint32
	exists bool
	until  time.Time
}

// rememberedFor is how long a found user or group is not looked up again.
const rememberedFor = time.Second

// find returns the user of that number. Other callers need not wait for a slow database.
func (d *userDatabase) find(uid int) knownUser {
	d.mu.Lock()
	u, ok := d.users[uid]
	d.mu.Unlock()
	now := time.Now()
	if ok && now.Before(u.until) {
		return u
	}
	u = lookUpUser(uid)
	u.until = now.Add(rememberedFor)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users == nil || len(d.users) > 1000 { // strangers must not fill the memory
		d.users = make(map[int]knownUser)
	}
	d.users[uid] = u
	return u
}

// lookUpUser asks the machine's database for a user.
func lookUpUser(uid int) knownUser {
	id := strconv.Itoa(uid)
	found, err := user.LookupId(id)
	if err != nil {
		return knownUser{name: id}
	}
	u := knownUser{name: found.Username}
	u.groups, _ = found.GroupIds() // a user whose groups can't be read is in none
	for _, gid := range u.groups {
		if g, err := user.LookupGroupId(gid); err == nil {
			u.groups = append(u.groups, g.Name)
		}
	}
	return u
}

// groupID returns the number of a group by its name or number.
func (d *userDatabase) groupID(group string) (id uint32, exists bool) {
	if n, err := strconv.ParseUint(group, 10, 32); err == nil {
		return uint32(n), true
	}
	d.mu.Lock()
	g, ok := d.groups[group]
	d.mu.Unlock()
	now := time.Now()
	if ok && now.Before(g.until) {
		return g.id, g.exists
	}
	g = knownGroup{until: now.Add(rememberedFor)}
	if found, err := user.LookupGroup(group); err == nil {
		n, err := strconv.ParseUint(found.Gid, 10, 32)
		g.id, g.exists = uint32(n), err == nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.groups == nil {
		d.groups = make(map[string]knownGroup)
	}
	d.groups[group] = g
	return g.id, g.exists
}
