// Package tamper finds out whether other users could change a file: by its owner and mode, or
// by those of a directory or link on the way to it. It does not know what the files are for.
package tamper

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/regularfile"
)

// ErrOthers means that other users could change a file.
var ErrOthers = errors.New("other users could change it")

// Guard checks files for one host. Others are all users but root, the user of this process,
// and the owner of the checkout that the host's root is in.
type Guard struct{ trusted []uint32 }

// GuardFor returns the guard of a host with that root, which need not exist.
func GuardFor(root string) Guard {
	g := Guard{trusted: []uint32{0, uint32(os.Geteuid())}}
	if owner, found := checkoutOwner(root); found {
		g.trusted = append(g.trusted, owner)
	}
	return g
}

// checkoutOwner returns the user that has the nearest directory at or above dir with a .git,
// if the same user has that.
func checkoutOwner(dir string) (uid uint32, found bool) {
	for {
		var top, git unix.Stat_t
		if unix.Lstat(filepath.Join(dir, ".git"), &git) == nil && unix.Stat(dir, &top) == nil {
			return top.Uid, top.Uid == git.Uid
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return 0, false
		}
		dir = parent
	}
}

// mostLinks is how many symbolic links a path may lead through, as for the kernel.
const mostLinks = 40

// Check returns an error that wraps ErrOthers if others could change the file at path, or
// exchange it: it names what they can write, and the commands that mend that. Of a missing
// file only the directories above are checked. Others may write a directory above if it is
// sticky, as /tmp, since only owners can exchange what is in it.
func (g Guard) Check(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	at, rest, links := "/", namesOf(path), 0
	if err := g.checkOne(at, len(rest) > 0, path); err != nil {
		return err
	}
	for len(rest) > 0 {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		err := g.checkOne(next, len(rest) > 0, path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		target, err := os.Readlink(next)
		switch {
		case err != nil: // it is no link
			at = next
			continue
		case filepath.IsAbs(target):
			at = "/"
		}
		rest = append(namesOf(target), rest...)
		if links++; links > mostLinks {
			return &os.PathError{Op: "check", Path: path, Err: unix.ELOOP}
		}
	}
	return nil
}

// namesOf returns the names that a path consists of.
func namesOf(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

// CheckProgram is Check for a program and, if it is a script, for its interpreter.
func (g Guard) CheckProgram(path string) error {
	if err := g.Check(path); err != nil {
		return err
	}
	f, err := regularfile.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil // a program that can be executed need not be readable; what is no file is found when it is run
	}
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n') // what is there counts
	if words := strings.Fields(strings.TrimPrefix(line, "#!")); strings.HasPrefix(line, "#!") && len(words) > 0 {
		return g.Check(words[0])
	}
	return nil
}

// checkOne checks the file at path alone, on the way to the file wanted. isAbove reports
// whether it is a directory or link above that one.
func (g Guard) checkOne(path string, isAbove bool, wanted string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &os.PathError{Op: "check", Path: path, Err: err}
	}
	isLink, isDir := st.Mode&unix.S_IFMT == unix.S_IFLNK, st.Mode&unix.S_IFMT == unix.S_IFDIR
	var wrong, mends []string
	if !slices.Contains(g.trusted, st.Uid) {
		wrong = append(wrong, "it belongs to "+nameOfUser(st.Uid))
		mends = append(mends, fmt.Sprintf("chown -h %s %s", nameForCommand(uint32(os.Geteuid())), path))
	}
	if isPassable := isAbove && isDir && st.Mode&unix.S_ISVTX != 0; !isLink && !isPassable {
		if writers, mend := g.otherWriters(path, &st); writers != "" {
			wrong = append(wrong, writers+" may write it")
			mends = append(mends, mend)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	about := path
	if path != wanted {
		about += ", which leads to " + wanted
	}
	elsewhere := ""
	if isAbove && isDir && !slices.Contains(g.trusted, st.Uid) { // it may be the user's home
		elsewhere = fmt.Sprintf("; or keep %s elsewhere, if the directory is to stay that user's", wanted)
	}
	return fmt.Errorf("%w: %s: %s; mend that with: %s%s", ErrOthers, about, strings.Join(wrong, ", and "), strings.Join(mends, " && "), elsewhere)
}

// otherWriters returns which others the mode and the access list of a file let write it, and
// the command that mends that, "" if none.
func (g Guard) otherWriters(path string, st *unix.Stat_t) (writers, mend string) {
	if st.Mode&0o002 != 0 {
		return "every user", "chmod go-w " + path
	}
	if st.Mode&0o020 == 0 {
		return "", ""
	}
	users, groups := writersInACL(path, st.Gid)
	for _, uid := range users {
		if !slices.Contains(g.trusted, uid) {
			return nameOfUser(uid), "setfacl -b " + path
		}
	}
	for _, gid := range groups {
		isTrusted := func(m member) bool { return m.known && slices.Contains(g.trusted, m.uid) }
		if others := slices.DeleteFunc(membersOf(gid), isTrusted); len(others) > 0 {
			return fmt.Sprintf("%s of group %d", others[0].name, gid), "chmod g-w " + path
		}
	}
	return "", ""
}
