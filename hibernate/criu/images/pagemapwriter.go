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

// Kinds of memory that CRIU numbers, in the lowest byte of what names it; the rest is
// the task's number or that of the memory.
const (
	ofTask   = 1
	ofShared = 2
)

// pageMapWriter writes the page map of one page file.
type pageMapWriter struct {
	file *os.File
	out  *bufio.Writer
	text []byte
}

// newPageMap makes the page map of the memory that image names, which is in the
// page file of that number.
func newPageMap(dir string, image uint64, pages int) (*pageMapWriter, error) {
	name := fmt.Sprintf("pagemap-%d.img", image>>8)
	switch image & 0xff {
	case ofTask:
	case ofShared:
		name = fmt.Sprintf("pagemap-shmem-%d.img", image>>8)
	default:
		return nil, fmt.Errorf("CRIU sends memory of an unknown kind, %#x", image)
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	m := &pageMapWriter{file: f, out: bufio.NewWriter(f)}
	_, _ = m.out.Write(binary.LittleEndian.AppendUint32(nil, magicCommon)) // close tells
	_, _ = m.out.Write(binary.LittleEndian.AppendUint32(nil, magicPagemap))
	m.put(1, uint64(pages))
	return m, nil
}

// add enters a region. Its second field is of 32 bits, and what an older CRIU reads.
func (m *pageMapWriter) add(address, pages uint64, flags uint16) {
	m.put(1, address, 2, uint64(uint32(pages)), 4, uint64(flags), pagesField, pages)
}

// put writes an entry of numbered numbers, its length before it.
func (m *pageMapWriter) put(fields ...uint64) {
	m.text = m.text[:0]
	for i := 0; i < len(fields); i += 2 {
		m.text = protowire.AppendTag(m.text, protowire.Number(fields[i]), protowire.VarintType)
		m.text = protowire.AppendVarint(m.text, fields[i+1])
	}
	_, _ = m.out.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(m.text))))
	_, _ = m.out.Write(m.text)
}

func (m *pageMapWriter) close() error { return errors.Join(m.out.Flush(), m.file.Close()) }
