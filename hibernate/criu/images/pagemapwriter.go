package images

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protowire"
)

// Kinds of memory in the lowest byte of the number by which CRIU names an image. The
// other bytes are the number of the process or of the shared memory.
const (
	ofProcess      = 1
	ofSharedMemory = 2
)

// pageMapWriter writes the page map of one page file.
type pageMapWriter struct {
	file *os.File
	out  *bufio.Writer
	text []byte // of the entry being written, kept to be used again
}

// createPageMap creates the page map in dir of the memory with CRIU's number memoryID, of a
// process or of shared memory. The contents will be in the page file with that number.
func createPageMap(dir string, memoryID uint64, pageFileNumber int) (*pageMapWriter, error) {
	name := fmt.Sprintf("pagemap-%d.img", memoryID>>8)
	switch memoryID & 0xff {
	case ofProcess:
	case ofSharedMemory:
		name = fmt.Sprintf("pagemap-shmem-%d.img", memoryID>>8)
	default:
		return nil, fmt.Errorf("CRIU sends memory of an unknown kind, %#x", memoryID)
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	m := &pageMapWriter{file: f, out: bufio.NewWriter(f)}
	_, _ = m.out.Write(binary.LittleEndian.AppendUint32(nil, magicCommon)) // flushAndClose returns the error
	_, _ = m.out.Write(binary.LittleEndian.AppendUint32(nil, magicPagemap))
	m.writeEntry(1, uint64(pageFileNumber))
	return m, nil
}

// addRegion adds an entry for so many pages at the address. The count stands in it twice: in
// the field of 32 bits for CRIU before 4.2, and in pagesField. flushAndClose returns the
// error.
func (m *pageMapWriter) addRegion(address, pages uint64, flags uint16) {
	m.writeEntry(1, address, 2, uint64(uint32(pages)), 4, uint64(flags), pagesField, pages)
}

// writeEntry writes an entry after its length. The fields are pairs of a field number and
// a value. flushAndClose returns the error.
func (m *pageMapWriter) writeEntry(fields ...uint64) {
	m.text = m.text[:0]
	for i := 0; i < len(fields); i += 2 {
		m.text = protowire.AppendTag(m.text, protowire.Number(fields[i]), protowire.VarintType)
		m.text = protowire.AppendVarint(m.text, fields[i+1])
	}
	_, _ = m.out.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(m.text))))
	_, _ = m.out.Write(m.text)
}

// flushAndClose writes the buffered entries and closes the file. Its error may be that of an
// earlier write.
func (m *pageMapWriter) flushAndClose() error { return errors.Join(m.out.Flush(), m.file.Close()) }
