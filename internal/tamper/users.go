package tamper

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The files of the machine's users and groups, see passwd(5) and group(5). Other databases
// (LDAP, sssd) are not asked: the program is linked statically.
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

// membersOf returns the members of a group. known is false for a group that is in none of the
// files, so that its members are not known; the own group of an ordinary user counts as known.
func membersOf(gid uint32) (members []member, known bool) {
	uids := make(map[string]uint32)
	for _, fields := range readColons(passwdFile, 4) {
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			continue
		}
		uids[fields[0]] = uint32(uid)
		if fields[3] == strconv.Itoa(int(gid)) {
			members, known = append(members, member{fields[0], uint32(uid), true}), true
		}
	}
	for _, fields := range readColons(groupFile, 4) {
		if fields[2] != strconv.Itoa(int(gid)) {
			continue
		}
		known = true
		for name := range strings.SplitSeq(fields[3], ",") {
			if uid, found := uids[name]; name != "" {
				members = append(members, member{name, uid, found})
			}
		}
	}
	isOwn := gid == 0 || os.Geteuid() != 0 && int(gid) == os.Getegid() // as of a user of another database, in its home
	return members, known || isOwn
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
func readColons(path string, least int) (lines [][]string) {
	text, _ := os.ReadFile(path) // without it no member is known
	for line := range strings.Lines(string(text)) {
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
