package images

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/checkpoint-restore/go-criu/v7/crit/images/fdinfo"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/regfile"
	remap "github.com/checkpoint-restore/go-criu/v7/crit/images/remap-file-path"
	sk_unix "github.com/checkpoint-restore/go-criu/v7/crit/images/sk-unix"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Outside is what a restore of an image makes, for a moment or for good, in directories that
// are not the image's.
type Outside struct {
	Remaps  []Remap
	Sockets []Socket
}

// Remap is a file or directory that the tree has open although the name is gone by which the
// tree opened it. A restore makes the name for a moment.
type Remap struct {
	Path string // the name
	// Link is the path of a hard link to the file, made by the dump; "" if the image has the
	// contents, or Path is a directory.
	Link  string
	Ghost uint32 // the number of the contents in the image, if Link is ""
	IsDir bool
}

// Socket is a unix socket with a path. A restore removes what is there, and binds the socket.
type Socket struct {
	Path string
	// IsDeleted says that the tree had removed the path. A restore makes it for a moment.
	IsDeleted bool
}

// fieldUnixSocket is the number of a field of file_entry, from CRIU's images/fdinfo.proto.
const fieldUnixSocket = 16

// socketIsExternal is a flag of a socket entry, from CRIU's sk-unix.h.
const socketIsExternal = 1 << 0

// ReadOutside reads from the image in dir what a restore makes outside of the image.
func ReadOutside(dir string) (Outside, error) {
	var o Outside
	remaps, err := readRawEntries(filepath.Join(dir, "remap-fpath.img"), magicRemap)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return o, err
	}
	entries, err := readRawEntries(filepath.Join(dir, filesName), magicFiles)
	if err != nil {
		return o, err
	}
	files := make(map[uint32]*regfile.RegFileEntry)
	for _, text := range entries {
		if len(remaps) == 0 && !hasField(text, fieldUnixSocket) {
			continue // of thousands of files most are of no interest
		}
		var file fdinfo.FileEntry
		if err := proto.Unmarshal(text, &file); err != nil {
			return o, fmt.Errorf("cannot read %s: %w", filesName, err)
		}
		if file.Reg != nil {
			files[file.GetId()] = file.Reg
		}
		if path := pathOfSocket(file.GetUsk()); path != "" {
			o.Sockets = append(o.Sockets, Socket{path, file.Usk.GetDeleted()})
		}
	}
	o.Remaps, err = decodeRemaps(remaps, files)
	return o, err
}

// hasField reports whether the message has a field with that number.
func hasField(message []byte, number protowire.Number) bool {
	for len(message) > 0 {
		found, _, size := protowire.ConsumeField(message)
		if found == number || size < 0 {
			return true // what can't be read is for the decoder
		}
		message = message[size:]
	}
	return false
}

// pathOfSocket returns the path that the socket is bound to, "" if it has none.
func pathOfSocket(s *sk_unix.UnixSkEntry) string {
	name := string(bytes.TrimRight(s.GetName(), "\x00"))
	accepted := s.GetType() == unix.SOCK_STREAM && s.GetState() == 1 // TCP_ESTABLISHED: it has the name of its listener
	if name == "" || name[0] == 0 || s.GetUflags()&socketIsExternal != 0 || accepted {
		return ""
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(s.GetNameDir(), name)
	}
	return name
}

// decodeRemaps returns the remaps in the entries of an image, whose regular files and
// directories are given by their numbers.
func decodeRemaps(entries [][]byte, files map[uint32]*regfile.RegFileEntry) (remaps []Remap, err error) {
	for _, text := range entries {
		var entry remap.RemapFilePathEntry
		if err := proto.Unmarshal(text, &entry); err != nil {
			return nil, fmt.Errorf("cannot read the remaps: %w", err)
		}
		file := files[entry.GetOrigId()]
		if file == nil {
			return nil, fmt.Errorf("cannot read the remaps: there is no file %d", entry.GetOrigId())
		}
		r := Remap{Path: file.GetName(), IsDir: file.GetMode()&unix.S_IFMT == unix.S_IFDIR, Ghost: entry.GetRemapId()}
		switch entry.GetRemapType() {
		case remap.RemapType_LINKED:
			link := files[entry.GetRemapId()]
			if link == nil {
				return nil, fmt.Errorf("cannot read the remaps: there is no link %d", entry.GetRemapId())
			}
			r.Link, r.Ghost = link.GetName(), 0
		case remap.RemapType_PROCFS:
			continue // a file of a process that has ended
		case remap.RemapType_GHOST:
		}
		remaps = append(remaps, r)
	}
	return remaps, nil
}
