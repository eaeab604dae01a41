package images

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/checkpoint-restore/go-criu/v7/crit/images/eventfd"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/fdinfo"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/fown"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/regfile"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Only the sizes of regular files go, not what other fields have that number, nor what
// go-criu does not know.
func TestRemoveFileSizes(t *testing.T) {
	owner := &fown.FownEntry{Uid: new(uint32), Euid: new(uint32), Signum: new(uint32), PidType: new(uint32), Pid: new(uint32)}
	file := &fdinfo.FileEntry{Type: fdinfo.FdTypes_REG.Enum(), Id: proto.Uint32(1), Reg: &regfile.RegFileEntry{
		Id: proto.Uint32(1), Flags: proto.Uint32(2), Pos: proto.Uint64(3), Fown: owner, Name: new("/f"), Size: proto.Uint64(1 << 40), Mode: proto.Uint32(0o100600),
	}}
	file.Reg.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 4711))
	event := &fdinfo.FileEntry{Type: fdinfo.FdTypes_EVENTFD.Enum(), Id: proto.Uint32(2), Efd: &eventfd.EventfdFileEntry{
		Id: proto.Uint32(2), Flags: new(uint32), Fown: owner, Counter: proto.Uint64(8),
	}}
	text := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, magicCommon), magicFiles)
	for _, e := range []*fdinfo.FileEntry{file, event} {
		entry, err := proto.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		text = append(binary.LittleEndian.AppendUint32(text, uint32(len(entry))), entry...)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, filesName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := RemoveFileSizes(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := readRawEntries(filepath.Join(dir, filesName), magicFiles)
	if err != nil || len(entries) != 2 {
		t.Fatalf("it has %d entries, error %v", len(entries), err)
	}
	file.Reg.Size = nil
	for i, want := range []*fdinfo.FileEntry{file, event} {
		var got fdinfo.FileEntry
		if err := proto.Unmarshal(entries[i], &got); err != nil || !proto.Equal(want, &got) {
			t.Errorf("entry %d is %v, error %v; want %v", i, &got, err, want)
		}
	}
}
