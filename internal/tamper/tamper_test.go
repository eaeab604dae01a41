package tamper

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// useUsers replaces the machine's users and groups for a test.
func useUsers(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	oldPasswd, oldGroup := passwdFile, groupFile
	t.Cleanup(func() { passwdFile, groupFile = oldPasswd, oldGroup })
	passwdFile, groupFile = filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	must(t, os.WriteFile(passwdFile, []byte("root:x:0:0:::\nalice:x:4001:4001:::\nbob:x:4002:4100:::\n"), 0o600))
	must(t, os.WriteFile(groupFile, []byte("root:x:0:\nalone:x:4200:root\nteam:x:4201:root,alice\nghosts:x:4202:gone\nbobs:x:4100:\nnobodys:x:4203:\n"), 0o600))
}

// ours makes a directory below a sticky one, with a file.
func ours(t *testing.T) (dir, file string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	top := t.TempDir()
	must(t, os.Chmod(top, 0o777|os.ModeSticky))
	dir = filepath.Join(top, "dir")
	file = filepath.Join(dir, "file")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(file, nil, 0o644))
	return dir, file
}

func TestCheck(t *testing.T) {
	useUsers(t)
	for name, test := range map[string]struct {
		change func(dir, file string) error
		want   []string // in the error; none for no error
	}{
		"as it was made":             {func(string, string) error { return nil }, nil},
		"others may read":            {func(_, file string) error { return os.Chmod(file, 0o755) }, nil},
		"another owner":              {func(_, file string) error { return os.Chown(file, 4001, 0) }, []string{"FILE: it belongs to user alice (4001); mend that with: chown -h root FILE"}},
		"an owner without a name":    {func(_, file string) error { return os.Chown(file, 4999, 0) }, []string{"it belongs to user 4999;"}},
		"everyone may write":         {func(_, file string) error { return os.Chmod(file, 0o666) }, []string{"FILE: every user may write it; mend that with: chmod go-w FILE"}},
		"owner and mode":             {func(_, file string) error { return errors.Join(os.Chown(file, 4001, 0), os.Chmod(file, 0o666)) }, []string{"chown -h root FILE && chmod go-w FILE"}},
		"the directory's owner":      {func(dir, _ string) error { return os.Chown(dir, 4001, 0) }, []string{"DIR, which leads to FILE: it belongs to user alice"}},
		"the directory's mode":       {func(dir, _ string) error { return os.Chmod(dir, 0o777) }, []string{"chmod go-w DIR"}},
		"a sticky directory":         {func(dir, _ string) error { return os.Chmod(dir, 0o777|os.ModeSticky) }, nil},
		"root's group":               {func(_, file string) error { return os.Chmod(file, 0o664) }, nil},
		"a group of root alone":      {func(_, file string) error { return errors.Join(os.Chown(file, 0, 4200), os.Chmod(file, 0o664)) }, nil},
		"an empty group":             {func(_, file string) error { return errors.Join(os.Chown(file, 0, 4203), os.Chmod(file, 0o664)) }, nil},
		"a group with another":       {func(_, file string) error { return errors.Join(os.Chown(file, 0, 4201), os.Chmod(file, 0o664)) }, []string{"alice of group 4201 may write it; mend that with: chmod g-w FILE"}},
		"the first group of another": {func(_, file string) error { return errors.Join(os.Chown(file, 0, 4100), os.Chmod(file, 0o664)) }, []string{"bob of group 4100"}},
		"a member without a user":    {func(_, file string) error { return errors.Join(os.Chown(file, 0, 4202), os.Chmod(file, 0o664)) }, []string{"gone of group 4202"}},
		"a group that may only read": {func(_, file string) error { return errors.Join(os.Chown(file, 0, 4201), os.Chmod(file, 0o644)) }, nil},
		"a group that is not known":  {func(_, file string) error { return errors.Join(os.Chown(file, 0, 4998), os.Chmod(file, 0o664)) }, nil},
		"a link of another":          {func(dir, file string) error { return relink(dir, file, 4001) }, []string{"FILE: it belongs to user alice"}},
		"a link of root":             {func(dir, file string) error { return relink(dir, file, 0) }, nil},
		"a link to what others change": {func(dir, file string) error {
			return errors.Join(relink(dir, file, 0), os.Chmod(filepath.Join(dir, "target"), 0o666))
		}, []string{"DIR/target, which leads to FILE: every user"}},
		"a missing file": {func(_, file string) error { return os.Remove(file) }, nil},
		"a missing file where others may make it": {func(dir, file string) error { return errors.Join(os.Remove(file), os.Chmod(dir, 0o777)) }, []string{"DIR, which leads to FILE"}},
		"an access list":              {func(_, file string) error { return setACL(file, aclUser, 4001) }, []string{"user alice (4001) may write it; mend that with: setfacl -b FILE"}},
		"an access list of root":      {func(_, file string) error { return setACL(file, aclUser, 0) }, nil},
		"an access list with a group": {func(_, file string) error { return setACL(file, aclGroup, 4201) }, []string{"alice of group 4201"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := ours(t)
			must(t, test.change(dir, file))
			err := GuardFor("/nowhere").Check(file)
			if (err == nil) != (len(test.want) == 0) || err != nil && !errors.Is(err, ErrOthers) {
				t.Fatalf("got %v", err)
			}
			for _, want := range test.want {
				want = strings.NewReplacer("FILE", file, "DIR", dir).Replace(want)
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got  %v\nwant %s", err, want)
				}
			}
		})
	}
}

// relink replaces file by a link, of that owner, to a new file beside it.
func relink(dir, file string, owner int) error {
	target := filepath.Join(dir, "target")
	return errors.Join(os.Rename(file, target), os.Symlink("target", file), os.Lchown(file, owner, 0))
}

// setACL gives a file an access list in which one more user or group may write.
func setACL(file string, tag uint16, id uint32) error {
	type entry struct {
		tag, rights uint16
		id          uint32
	}
	const none, owner, mask, other = 1<<32 - 1, 0x01, 0x10, 0x20
	entries := []entry{{owner, 6, none}, {tag, 6, id}, {aclGroupObj, 4, none}, {mask, 6, none}, {other, 4, none}}
	if tag == aclGroup { // the kernel wants them in the order of their tags
		entries[1], entries[2] = entries[2], entries[1]
	}
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.rights)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	return unix.Setxattr(file, "system.posix_acl_access", list, 0)
}

// The owner of a checkout may change what is in it, for a host whose root is there.
func TestCheckoutOwner(t *testing.T) {
	useUsers(t)
	dir, file := ours(t)
	git := filepath.Join(dir, ".git")
	must(t, os.Mkdir(git, 0o755))
	for _, path := range []string{dir, git, file} {
		must(t, os.Chown(path, 4001, 4001))
	}
	must(t, GuardFor(filepath.Join(dir, ".run")).Check(file))
	if err := GuardFor(filepath.Join(filepath.Dir(dir), "elsewhere")).Check(file); !errors.Is(err, ErrOthers) {
		t.Errorf("with a root outside of the checkout: %v", err)
	}
	must(t, os.Chown(file, 4002, 4100))
	if err := GuardFor(filepath.Join(dir, ".run")).Check(file); !errors.Is(err, ErrOthers) {
		t.Errorf("the file of a third user: %v", err)
	}
	must(t, os.Chown(file, 4001, 4001))
	must(t, os.Chown(git, 4002, 4100))
	if err := GuardFor(filepath.Join(dir, ".run")).Check(file); !errors.Is(err, ErrOthers) {
		t.Errorf("with the .git of another: %v", err)
	}
}

// A script is only as good as its interpreter.
func TestCheckProgram(t *testing.T) {
	useUsers(t)
	dir, interpreter := ours(t)
	script := filepath.Join(dir, "script")
	must(t, os.WriteFile(script, []byte("#! "+interpreter+" -x\n"), 0o755))
	g := GuardFor("/nowhere")
	must(t, errors.Join(g.CheckProgram(script), g.CheckProgram(interpreter), g.CheckProgram(filepath.Join(dir, "missing"))))
	must(t, os.Chmod(interpreter, 0o777))
	if err := g.CheckProgram(script); !errors.Is(err, ErrOthers) || !strings.Contains(err.Error(), interpreter) {
		t.Errorf("got %v", err)
	}
}

// A program that is no file is nothing to wait for.
func TestCheckProgramOfAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := GuardFor(t.TempDir()).CheckProgram(path); err != nil {
		t.Errorf("got %v", err)
	}
}
