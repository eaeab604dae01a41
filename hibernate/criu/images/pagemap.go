package images

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/checkpoint-restore/go-criu/v7/crit/images/mm"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/pagemap"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"dormouse/hibernate"
)

// From CRIU's images/pagemap.proto and magic.h.
const (
	pageInParent = 1 << 0
	pageLazy     = 1 << 1
	pagePresent  = 1 << 2

	magicCommon  = 0x54564319
	magicPagemap = 0x56084025
	magicMM      = 0x57492820
)

// Layout says where the memory of the tasks in an image lies.
type Layout struct {
	// Lazy is the memory that CRIU leaves out, by the task's number in the image.
	Lazy map[int]ProcessMemory
	// Eager are the chunks that hold anything else, by page file.
	Eager map[string][]int64
}

type ProcessMemory struct {
	File    string
	Missing Extents
}

// ReadLayout reads the page maps of the image in dir.
func ReadLayout(dir string) (Layout, error) {
	l := Layout{Lazy: make(map[int]ProcessMemory), Eager: make(map[string][]int64)}
	maps, err := filepath.Glob(filepath.Join(dir, "pagemap-*.img"))
	if err != nil {
		return l, err
	}
	lazy := make(map[string][]Extent) // of each page file, in the order of its contents
	for _, path := range maps {
		var task int
		if _, err := fmt.Sscanf(filepath.Base(path), "pagemap-%d.img", &task); err != nil {
			continue // memory that is shared, which is never lazy
		}
		memory, err := readTask(dir, path, task)
		if err != nil {
			return l, err
		}
		l.Lazy[task] = memory
		lazy[memory.File] = slices.SortedFunc(slices.Values(memory.Missing), func(a, b Extent) int { return int(a.Offset - b.Offset) })
	}
	files, err := filepath.Glob(filepath.Join(dir, "pages-*.img"))
	if err != nil {
		return l, err
	}
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			return l, err
		}
		name := filepath.Base(path)
		l.Eager[name] = chunksOutside(lazy[name], info.Size())
	}
	return l, nil
}

// chunksOutside returns the chunks of a file that hold more than the Extents.
func chunksOutside(lazy []Extent, size int64) []int64 {
	var chunks []int64
	at := int64(0)
	outside := func(end int64) {
		if at < end {
			for c := at / hibernate.ChunkSize; c*hibernate.ChunkSize < end; c++ {
				chunks = append(chunks, c)
			}
		}
	}
	for _, e := range lazy {
		outside(e.Offset)
		at = e.Offset + int64(e.End-e.Start)
	}
	outside(size)
	return slices.Compact(chunks)
}

// readTask reads the page map at path and what the mappings it is for are like.
func readTask(dir, path string, task int) (ProcessMemory, error) {
	var memory ProcessMemory
	vmas, err := readMappings(filepath.Join(dir, fmt.Sprintf("mm-%d.img", task)))
	if err != nil {
		return memory, err
	}
	entries, err := readImage(path, magicPagemap)
	if err != nil {
		return memory, err
	}
	page := uint64(os.Getpagesize())
	var offset int64
	for i, text := range entries {
		if i == 0 {
			head := &pagemap.PagemapHead{}
			if err := proto.Unmarshal(text, head); err != nil {
				return memory, fmt.Errorf("cannot read %s: %w", path, err)
			}
			memory.File = fmt.Sprintf("pages-%d.img", head.GetPagesId())
			continue
		}
		entry := &pagemap.PagemapEntry{}
		if err := proto.Unmarshal(text, entry); err != nil {
			return memory, fmt.Errorf("cannot read %s: %w", path, err)
		}
		if entry.GetInParent() || entry.GetFlags()&pageInParent != 0 {
			return memory, fmt.Errorf("cannot read %s: it refers to another image", path)
		}
		if entry.GetFlags()&pagePresent == 0 {
			continue
		}
		length := pages(entry) * page
		if entry.GetFlags()&pageLazy != 0 {
			memory.Missing = append(memory.Missing, vmas.split(Extent{Start: entry.GetVaddr(), End: entry.GetVaddr() + length, Offset: offset})...)
		}
		offset += int64(length)
	}
	info, err := os.Stat(filepath.Join(dir, memory.File))
	if err == nil && info.Size() != offset {
		err = fmt.Errorf("cannot read %s: it is for %d bytes, %s has %d", path, offset, memory.File, info.Size())
	}
	return memory, err
}

// pagesField is where CRIU 4.2 says how many pages an entry has; older ones say
// it in a field of 32 bits, which newer ones leave at 0.
const pagesField = 5

func pages(entry *pagemap.PagemapEntry) uint64 {
	for rest := []byte(entry.ProtoReflect().GetUnknown()); len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			break
		}
		rest = rest[n:]
		if number == pagesField && kind == protowire.VarintType {
			if count, n := protowire.ConsumeVarint(rest); n > 0 {
				return count
			}
		}
		if n = protowire.ConsumeFieldValue(number, kind, rest); n < 0 {
			break
		}
		rest = rest[n:]
	}
	return uint64(entry.GetNrPages())
}

// mapping is one of a task's.
type mapping struct {
	start, end uint64
	wiped      bool
}

type mappings []mapping

// split divides e along the mappings that it lies in.
func (m mappings) split(e Extent) Extents {
	var parts Extents
	at, _ := slices.BinarySearchFunc(m, e.Start, func(v mapping, address uint64) int {
		if v.end <= address {
			return -1
		}
		return 1
	})
	for _, v := range m[at:] {
		if v.end >= e.End || v.start > e.Start {
			e.Wiped = v.wiped
			break
		}
		part := e
		part.End, part.Wiped = v.end, v.wiped
		parts = append(parts, part)
		e = e.TailFrom(v.end)
	}
	return append(parts, e)
}

func readMappings(path string) (mappings, error) {
	entries, err := readImage(path, magicMM)
	if err != nil {
		return nil, err
	}
	if len(entries) != 1 {
		return nil, fmt.Errorf("cannot read %s: it has %d entries", path, len(entries))
	}
	memory := &mm.MmEntry{}
	if err := proto.Unmarshal(entries[0], memory); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	var vmas mappings
	for _, v := range memory.GetVmas() {
		vmas = append(vmas, mapping{v.GetStart(), v.GetEnd(), v.GetMadv()&(1<<unix.MADV_WIPEONFORK) != 0})
	}
	slices.SortFunc(vmas, func(a, b mapping) int { return int(int64(a.start - b.start)) })
	return vmas, nil
}

// readImage returns the entries of one of CRIU's images: after the magic numbers
// each is preceded by its length.
func readImage(path string, magic uint32) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(text) < 8 || binary.LittleEndian.Uint32(text) != magicCommon || binary.LittleEndian.Uint32(text[4:]) != magic {
		return nil, fmt.Errorf("cannot read %s: it does not begin as it should", path)
	}
	var entries [][]byte
	for text = text[8:]; len(text) > 0; {
		if len(text) < 4 {
			return nil, fmt.Errorf("cannot read %s: %w", path, io.ErrUnexpectedEOF)
		}
		length := binary.LittleEndian.Uint32(text)
		if uint64(length) > uint64(len(text)-4) {
			return nil, fmt.Errorf("cannot read %s: %w", path, io.ErrUnexpectedEOF)
		}
		entries = append(entries, text[4:4+length])
		text = text[4+length:]
	}
	return entries, nil
}
