package outside

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/checkpoint-restore/go-criu/v7/crit/images/fdinfo"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/fown"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/regfile"
	remap "github.com/checkpoint-restore/go-criu/v7/crit/images/remap-file-path"
	sk_opts "github.com/checkpoint-restore/go-criu/v7/crit/images/sk-opts"
	sk_unix "github.com/checkpoint-restore/go-criu/v7/crit/images/sk-unix"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// image is an image of a tree that holds, below a directory:
//   - linked, which has lost its name and has another one
//   - ghost, in a directory that is gone, too
//   - dir, a directory that is gone
//   - socket, and lost-socket, whose path the tree has removed
type image struct {
	at    string // the directory with all these
	dir   string // that of the image's files
	notes string
}

func newImage(t *testing.T) image {
	t.Helper()
	i := image{t.TempDir(), t.TempDir(), t.TempDir()}
	var files []proto.Message
	regular := func(id uint32, name string, mode uint32) {
		files = append(files, &fdinfo.FileEntry{Type: fdinfo.FdTypes_REG.Enum(), Id: &id, Reg: &regfile.RegFileEntry{
			Id: &id, Flags: new(uint32), Pos: new(uint64), Fown: &fown.FownEntry{Uid: new(uint32), Euid: new(uint32), Signum: new(uint32), PidType: new(uint32), Pid: new(uint32)},
			Name: new(filepath.Join(i.at, name)), Mode: &mode, Size: proto.Uint64(3),
		}})
	}
	socket := func(id uint32, name string, deleted bool) {
		zero := new(uint32)
		files = append(files, &fdinfo.FileEntry{Type: fdinfo.FdTypes_UNIXSK.Enum(), Id: &id, Usk: &sk_unix.UnixSkEntry{
			Id: &id, Ino: &id, Type: proto.Uint32(unix.SOCK_STREAM), State: proto.Uint32(10), Flags: zero, Uflags: zero, Backlog: zero, Peer: zero,
			Fown: &fown.FownEntry{Uid: zero, Euid: zero, Signum: zero, PidType: zero, Pid: zero},
			Opts: &sk_opts.SkOptsEntry{SoSndbuf: zero, SoRcvbuf: zero, SoSndTmoSec: new(uint64), SoSndTmoUsec: new(uint64), SoRcvTmoSec: new(uint64), SoRcvTmoUsec: new(uint64)},
			Name: []byte(filepath.Join(i.at, name) + "\x00"), Deleted: &deleted,
		}})
	}
	regular(1, "linked", unix.S_IFREG)
	regular(2, "link_remap.2", unix.S_IFREG)
	regular(3, "gone/too/ghost", unix.S_IFREG)
	regular(4, "dir", unix.S_IFDIR)
	socket(5, "socket", false)
	socket(6, "lost-socket", true)
	i.write(t, "files.img", 0x56303138, files)
	i.write(t, "remap-fpath.img", 0x59133954, []proto.Message{
		&remap.RemapFilePathEntry{OrigId: proto.Uint32(1), RemapId: proto.Uint32(2), RemapType: remap.RemapType_LINKED.Enum()},
		&remap.RemapFilePathEntry{OrigId: proto.Uint32(3), RemapId: proto.Uint32(1), RemapType: remap.RemapType_GHOST.Enum()},
		&remap.RemapFilePathEntry{OrigId: proto.Uint32(4), RemapId: proto.Uint32(2), RemapType: remap.RemapType_GHOST.Enum()},
	})
	i.create(t, "other-name", "linked")
	i.link(t, "other-name", "link_remap.2")
	return i
}

func (i image) write(t *testing.T, name string, magic uint32, entries []proto.Message) {
	t.Helper()
	text := binary.LittleEndian.AppendUint32(nil, 0x54564319)
	text = binary.LittleEndian.AppendUint32(text, magic)
	for _, e := range entries {
		entry, err := proto.Marshal(e)
		must(t, err)
		text = append(binary.LittleEndian.AppendUint32(text, uint32(len(entry))), entry...)
	}
	must(t, os.WriteFile(filepath.Join(i.dir, name), text, 0o600))
}

func (i image) create(t *testing.T, name, text string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(i.at, name), []byte(text), 0o600))
}

func (i image) link(t *testing.T, from, to string) {
	t.Helper()
	must(t, os.Link(filepath.Join(i.at, from), filepath.Join(i.at, to)))
}

func (i image) mkdir(t *testing.T, name string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(i.at, name), 0o750))
}

// bind makes the path of a socket that no process has.
func (i image) bind(t *testing.T, name string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(i.at, name), Net: "unix"})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
}

func (i image) remove(t *testing.T, name string) {
	t.Helper()
	must(t, os.Remove(filepath.Join(i.at, name)))
}

// names returns all names, with a letter for each that is not a regular file.
func (i image) names(t *testing.T) string {
	t.Helper()
	var names []string
	must(t, filepath.WalkDir(i.at, func(path string, d os.DirEntry, err error) error {
		name, _ := filepath.Rel(i.at, path)
		switch {
		case err != nil || name == ".":
			return err
		case d.IsDir():
			name += "/"
		case d.Type()&os.ModeSocket != 0:
			name += "="
		}
		names = append(names, name)
		return nil
	}))
	return strings.Join(names, " ")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	id   = "IMAGE"
	kept = ".dormouse-IMAGE-link_remap.2"
)

// asleep returns an image after its dump.
func asleep(t *testing.T) image {
	t.Helper()
	i := newImage(t)
	d, err := BeginDump(t.Context(), nil, id, nil, i.notes)
	must(t, err)
	var told []string
	must(t, d.KeepFiles(i.dir, id, nil, func(links []string) error { told = links; return nil }))
	if len(told) != 1 || told[0] != filepath.Join(i.at, kept) {
		t.Errorf("told are %q", told)
	}
	if got, want := i.names(t), kept+" other-name"; got != want {
		t.Errorf("after the dump there are %s, want %s", got, want)
	}
	return i
}

// A restore can do any of this before it is killed; then all is as before.
func TestUndo(t *testing.T) {
	for name, test := range map[string]struct {
		before func(t *testing.T, i image) // what others have done during the sleep
		left   func(t *testing.T, i image) // what the restore has done
		want   string                      // what there is after Undo
	}{
		"nothing": {want: kept + " other-name"},
		"the name of a file with another name": {
			left: func(t *testing.T, i image) { t.Helper(); i.link(t, "link_remap.2", "linked") },
			want: kept + " other-name",
		},
		"another name for it": {
			before: func(t *testing.T, i image) { t.Helper(); i.create(t, "linked", "of another program") },
			left:   func(t *testing.T, i image) { t.Helper(); i.link(t, "link_remap.2", "linked.cr_link") },
			want:   kept + " linked other-name",
		},
		"the name was made again meanwhile": {
			before: func(t *testing.T, i image) { t.Helper(); i.link(t, "other-name", "linked") },
			left:   func(t *testing.T, i image) { t.Helper(); i.link(t, "link_remap.2", "linked.cr_link") },
			want:   kept + " linked other-name",
		},
		"the link used up": {
			left: func(t *testing.T, i image) { t.Helper(); i.remove(t, "link_remap.2") },
			want: kept + " other-name",
		},
		"a ghost": {
			left: func(t *testing.T, i image) {
				t.Helper()
				i.create(t, "ghost.cr.1.ghost", "ghost")
				i.mkdir(t, "gone/too")
				i.link(t, "ghost.cr.1.ghost", "gone/too/ghost")
			},
			want: kept + " other-name",
		},
		"a directory": {
			left: func(t *testing.T, i image) { t.Helper(); i.mkdir(t, "dir") },
			want: kept + " other-name",
		},
		"a directory that is there again": {
			before: func(t *testing.T, i image) { t.Helper(); i.mkdir(t, "dir") },
			left:   func(t *testing.T, i image) { t.Helper(); i.remove(t, "dir") },
			want:   kept + " dir/ other-name",
		},
		"a socket removed": {
			before: func(t *testing.T, i image) { t.Helper(); i.bind(t, "socket") },
			left:   func(t *testing.T, i image) { t.Helper(); i.remove(t, "socket") },
			want:   kept + " other-name socket=",
		},
		"a socket bound": {
			left: func(t *testing.T, i image) { t.Helper(); i.bind(t, "socket") },
			want: kept + " other-name",
		},
		"a lost socket bound": {
			left: func(t *testing.T, i image) { t.Helper(); i.bind(t, "lost-socket") },
			want: kept + " other-name",
		},
		"a lost socket in the place of another": {
			before: func(t *testing.T, i image) { t.Helper(); i.bind(t, "lost-socket") },
			left: func(t *testing.T, i image) {
				t.Helper()
				must(t, os.Rename(filepath.Join(i.at, "lost-socket"), filepath.Join(i.at, "lost-socket.criu-sk-ghost")))
				i.bind(t, "lost-socket")
			},
			want: kept + " lost-socket= other-name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, hostIsKilled := range []bool{false, true} {
				i := asleep(t)
				if test.before != nil {
					test.before(t, i)
				}
				a, err := Begin(t.Context(), i.dir, id, i.notes)
				must(t, err)
				if test.left != nil {
					test.left(t, i)
				}
				if !hostIsKilled {
					a.Undo()
				} else {
					a.unlock()
					must(t, UndoNoted(i.notes))
				}
				if got := i.names(t); got != test.want {
					t.Errorf("host killed %t: there are %s, want %s", hostIsKilled, got, test.want)
				}
				again, err := Begin(t.Context(), i.dir, id, i.notes)
				must(t, err)
				if text, err := os.ReadFile(filepath.Join(i.at, "link_remap.2")); err != nil || string(text) != "linked" {
					t.Errorf("the next attempt finds %q, %v", text, err)
				}
				again.Undo()
				if left, _ := os.ReadDir(i.notes); len(left) > 0 {
					t.Errorf("left are the notes %v", left)
				}
			}
		})
	}
}
