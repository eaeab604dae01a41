package tamper

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The files of the machine's users and groups, see passwd(5) and group(5).
var (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
)

// member is a member of a group, or a user that has it as its first group.
type member struct {
	name  string
	uid   uint32
	known bool // the user is in passwdFile
}

// membersOf returns the members of a group. Users that only another database than the
// machine's files knows (LDAP, sssd) are found if they are listed as members of the group.
func membersOf(gid uint32) (members []member) {
	uids, number := make(map[string]uint32), strconv.Itoa(int(gid))
	for _, fields := range readColons(passwdFile, 4) {
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			continue
		}
		uids[fields[0]] = uint32(uid)
		if fields[3] == number {
			members = append(members, member{fields[0], uint32(uid), true})
		}
	}
	for _, name := range listedMembers(number) {
		uid, found := uids[name]
		members = append(members, member{name, uid, found})
	}
	return members
}

// listedMembers returns the names that the entry of a group lists: that in groupFile, or of
// another database if groupFile has none. A group without an entry has none.
func listedMembers(number string) (names []string) {
	entries := readColons(groupFile, 4)
	isOther := func(fields []string) bool { return fields[2] != number }
	entries = slices.DeleteFunc(entries, isOther)
	if len(entries) == 0 && number != "0" {
		entries = slices.DeleteFunc(splitColons(askGroupDatabase(number), 4), isOther)
	}
	for _, fields := range entries {
		names = append(names, strings.FieldsFunc(fields[3], func(r rune) bool { return r == ',' })...)
	}
	return names
}

// askLimit is how long another database of groups may take to answer.
const askLimit = 2 * time.Second

// askGroupDatabase returns the entry of a group as getent(1) finds it in all databases of the
// machine, which this program, linked statically, can't ask itself. It is "" without one.
func askGroupDatabase(number string) string {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	entry, _ := exec.CommandContext(ctx, "/usr/bin/getent", "group", number).Output() // without it there is no other database
	return string(entry)
}

// nameOfUser returns the name and the number of a user.
func nameOfUser(uid uint32) string {
	if name := nameForCommand(uid); name != strconv.Itoa(int(uid)) {
		return fmt.Sprintf("user %s (%d)", name, uid)
	}
	return fmt.Sprintf("user %d", uid)
}

// nameForCommand returns the name of a user, the number if there is none.
func nameForCommand(uid uint32) string {
	number := strconv.Itoa(int(uid))
	for _, fields := range readColons(passwdFile, 4) {
		if fields[2] == number {
			return fields[0]
		}
	}
	return number
}

// readColons returns the lines of a file that have at least that many fields, which are
// separated by colons. A file that can't be read has none.
func readColons(path string, least int) [][]string {
	text, _ := os.ReadFile(path) // without it no member is known
	return splitColons(string(text), least)
}

// splitColons is readColons for a text.
func splitColons(text string, least int) (lines [][]string) {
	for line := range strings.Lines(text) {
		if fields := strings.Split(strings.TrimSpace(line), ":"); len(fields) >= least {
			lines = append(lines, fields)
		}
	}
	return lines
}

// Tags of an access list's entries, and the right to write; see acl(5) and the kernel's
// posix_acl_xattr.h.
const (
	aclUser, aclGroupObj, aclGroup = 0x02, 0x04, 0x08
	aclWrite                       = 0x02
	aclHeaderSize, aclEntrySize    = 4, 8
)

// writersInACL returns the users and groups that may write a file whose mode lets its group
// write: those that its access list names, or the file's group if it has no such list.
func writersInACL(path string, fileGroup uint32) (users, groups []uint32) {
	list := make([]byte, 64<<10)
	n, err := unix.Lgetxattr(path, "system.posix_acl_access", list)
	if err != nil || n < aclHeaderSize {
		return nil, []uint32{fileGroup}
	}
	for entry := list[aclHeaderSize:n]; len(entry) >= aclEntrySize; entry = entry[aclEntrySize:] {
		tag, rights := binary.LittleEndian.Uint16(entry), binary.LittleEndian.Uint16(entry[2:])
		id := binary.LittleEndian.Uint32(entry[4:])
		switch {
		case rights&aclWrite == 0:
		case tag == aclUser:
			users = append(users, id)
		case tag == aclGroup:
			groups = append(groups, id)
		case tag == aclGroupObj:
			groups = append(groups, fileGroup)
		}
	}
	return users, groups
}
