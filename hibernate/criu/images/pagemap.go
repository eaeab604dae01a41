// Package images reads and writes the files of a CRIU image: it finds out where the
// memory of each process lies, stores memory that CRIU sends, and reads the identity of
// each thread. It does not know when CRIU runs, or whether an image may be used.
package images

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/checkpoint-restore/go-criu/v7/crit/images/mm"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/pagemap"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"dormouse/hibernate"
	"dormouse/internal/filenames"
	"dormouse/internal/regularfile"
)

// filesName is the image file with an entry for each open or mapped file.
const filesName = "files.img"

// Flags of a page map's entry, and the magic numbers at the beginning of an image file:
// from CRIU's images/pagemap.proto and magic.h.
const (
	pageInParent = 1 << 0
	pageLazy     = 1 << 1
	pagePresent  = 1 << 2

	magicCommon  = 0x54564319
	magicPagemap = 0x56084025
	magicMM      = 0x57492820
	magicCore    = 0x55053847
	magicSeccomp = 0x64413049
	magicFiles   = 0x56303138
	magicRemap   = 0x59133954
	magicPstree  = 0x50273030
)

// Layout says where in the page files of an image the memory lies.
type Layout struct {
	// Lazy is the memory that CRIU leaves out in a lazy restore, by the number of the
	// process in the image.
	Lazy map[int]ProcessMemory
	// Eager are the indices of the chunks, of hibernate.ChunkSize, that hold memory which
	// CRIU always reads itself, by page file.
	Eager map[string][]int64
}

// ForEachEagerChunk calls use for each chunk of l.Eager, until use returns an error.
func (l Layout) ForEachEagerChunk(use func(file string, chunk int64) error) error {
	for file, chunks := range l.Eager {
		for _, index := range chunks {
			if err := use(file, index); err != nil {
				return err
			}
		}
	}
	return nil
}

// ProcessMemory is the lazy memory of one process: its page file, and the extents that
// the process lacks after a lazy restore.
type ProcessMemory struct {
	File    string
	Missing Extents
}

// ReadLayout reads the page maps of the image in dir. The page files may be empty as
// long as their sizes are right.
func ReadLayout(dir string) (Layout, error) {
	l := Layout{Lazy: make(map[int]ProcessMemory), Eager: make(map[string][]int64)}
	maps, err := filenames.PathsIn(dir, "pagemap-", ".img")
	if err != nil {
		return l, err
	}
	lazy := make(map[string][]Extent) // by page file, ordered by offset
	for _, path := range maps {
		var process int
		if _, err := fmt.Sscanf(filepath.Base(path), "pagemap-%d.img", &process); err != nil {
			continue // shared memory, which is never lazy
		}
		memory, err := locateLazyMemory(dir, path, process)
		if err != nil {
			return l, err
		}
		l.Lazy[process] = memory
		lazy[memory.File] = slices.SortedFunc(slices.Values(memory.Missing), func(a, b Extent) int { return int(a.Offset - b.Offset) })
	}
	files, err := filenames.PathsIn(dir, "pages-", ".img")
	if err != nil {
		return l, err
	}
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			return l, err
		}
		name := filepath.Base(path)
		l.Eager[name] = eagerChunkIndices(lazy[name], info.Size())
	}
	return l, nil
}

// eagerChunkIndices returns the indices, in order, of the chunks of a page file that hold
// anything but the lazy extents, which are ordered by offset.
func eagerChunkIndices(lazy []Extent, fileSize int64) []int64 {
	var chunks []int64
	at := int64(0)
	addUpTo := func(end int64) {
		if at < end {
			for c := at / hibernate.ChunkSize; c*hibernate.ChunkSize < end; c++ {
				chunks = append(chunks, c)
			}
		}
	}
	for _, e := range lazy {
		addUpTo(e.Offset)
		at = e.Offset + int64(e.End-e.Start)
	}
	addUpTo(fileSize)
	return slices.Compact(chunks)
}

// locateLazyMemory returns the lazy memory of the process with that number in the image in
// dir, from its page map and its mappings. It fails if the page map refers to another image
// or does not fit the page file.
func locateLazyMemory(dir, pageMapPath string, process int) (ProcessMemory, error) {
	var memory ProcessMemory
	mappings, err := readMappings(filepath.Join(dir, fmt.Sprintf("mm-%d.img", process)))
	if err != nil {
		return memory, err
	}
	entries, err := readRawEntries(pageMapPath, magicPagemap)
	if err != nil {
		return memory, err
	}
	page := uint64(os.Getpagesize())
	var offset int64
	for i, text := range entries {
		if i == 0 {
			head := &pagemap.PagemapHead{}
			if err := proto.Unmarshal(text, head); err != nil {
				return memory, fmt.Errorf("cannot read %s: %w", pageMapPath, err)
			}
			memory.File = fmt.Sprintf("pages-%d.img", head.GetPagesId())
			continue
		}
		entry := &pagemap.PagemapEntry{}
		if err := proto.Unmarshal(text, entry); err != nil {
			return memory, fmt.Errorf("cannot read %s: %w", pageMapPath, err)
		}
		if entry.GetInParent() || entry.GetFlags()&pageInParent != 0 {
			return memory, fmt.Errorf("cannot read %s: it refers to another image", pageMapPath)
		}
		if entry.GetFlags()&pagePresent == 0 {
			continue
		}
		length := pageCount(entry) * page
		if entry.GetFlags()&pageLazy != 0 {
			memory.Missing = append(memory.Missing, splitAndMarkWiped(Extent{Start: entry.GetVaddr(), End: entry.GetVaddr() + length, Offset: offset}, mappings)...)
		}
		offset += int64(length)
	}
	info, err := os.Stat(filepath.Join(dir, memory.File))
	if err == nil && info.Size() != offset {
		err = fmt.Errorf("cannot read %s: it is for %d bytes, %s has %d", pageMapPath, offset, memory.File, info.Size())
	}
	return memory, err
}

// pagesField is the field of 64 bits in which CRIU 4.2 and later writes how many pages an
// entry has. CRIU before 4.2 writes nr_pages, of 32 bits.
const pagesField = 5

// pageCount returns how many pages the entry has. go-criu does not know pagesField.
func pageCount(entry *pagemap.PagemapEntry) uint64 {
	for number, value := range unknownNumberFields(entry) {
		if number == pagesField {
			return value
		}
	}
	return uint64(entry.GetNrPages())
}

// unknownNumberFields returns the field number and value of each field of the message that
// go-criu does not know and whose value is a number. It stops at a damaged field.
func unknownNumberFields(m proto.Message) iter.Seq2[protowire.Number, uint64] {
	return func(yield func(protowire.Number, uint64) bool) {
		for rest := []byte(m.ProtoReflect().GetUnknown()); len(rest) > 0; {
			number, kind, tag := protowire.ConsumeTag(rest)
			length := protowire.ConsumeFieldValue(number, kind, rest[max(tag, 0):])
			if tag < 0 || length < 0 {
				return
			}
			value, _ := protowire.ConsumeVarint(rest[tag:])
			if kind == protowire.VarintType && !yield(number, value) {
				return
			}
			rest = rest[tag+length:]
		}
	}
}

// splitAndMarkWiped divides e at the borders of the mappings, and sets Wiped of each part.
func splitAndMarkWiped(e Extent, mappings Extents) Extents {
	var parts Extents
	for _, m := range mappings[mappings.IndexEndingAfter(e.Start):] {
		if m.End >= e.End || m.Start > e.Start {
			e.Wiped = m.Wiped
			break
		}
		part := e
		part.End, part.Wiped = m.End, m.Wiped
		parts = append(parts, part)
		e = e.TailFrom(m.End)
	}
	return append(parts, e)
}

// readMappings returns the mappings of a process, from its mm image at that path.
func readMappings(mmImagePath string) (mappings Extents, err error) {
	var memory mm.MmEntry
	if err := readSingleEntry(mmImagePath, magicMM, &memory); err != nil {
		return nil, err
	}
	for _, v := range memory.GetVmas() {
		mappings = append(mappings, Extent{Start: v.GetStart(), End: v.GetEnd(), Wiped: v.GetMadv()&(1<<unix.MADV_WIPEONFORK) != 0})
	}
	slices.SortFunc(mappings, func(a, b Extent) int { return int(int64(a.Start - b.Start)) })
	return mappings, nil
}

// readSingleEntry fills entry with the only entry of the image file at path. The file must
// begin with that magic number.
func readSingleEntry(path string, magic uint32, entry proto.Message) error {
	entries, err := readRawEntries(path, magic)
	if err != nil {
		return err
	}
	if len(entries) != 1 {
		return fmt.Errorf("cannot read %s: it has %d entries, not one", path, len(entries))
	}
	if err := proto.Unmarshal(entries[0], entry); err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	return nil
}

// readRawEntries returns the undecoded entries of the image file at path, which must begin
// with that magic number. They follow the magic numbers, each after its length.
func readRawEntries(path string, magic uint32) ([][]byte, error) {
	text, err := regularfile.Read(path, 1<<30)
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
