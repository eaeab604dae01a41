// Package salvage reads the rows of a damaged SQLite file page by page, without the pages that
// lead to them where those are damaged. It changes nothing, and does not know what the rows
// mean. The format is https://sqlite.org/fileformat.html.
package salvage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"

	"dormouse/internal/regularfile"
)

// ErrNotSQLite means that nothing in the file says that it is one of SQLite.
var ErrNotSQLite = errors.New("it is not a file of SQLite")

// magic is how a file of SQLite begins.
const magic = "SQLite format 3\x00"

// defaultPageSize is that of files whose first page is damaged.
const defaultPageSize = 4096

// Image is a file with the changes that its log adds, as SQLite would read it.
type Image struct {
	file, log *os.File
	pageSize  int
	usable    int              // bytes of a page that SQLite uses
	pages     uint32           // how many there are
	inLog     map[uint32]int64 // where in the log the newest contents of a page are
	intact    bool             // the header of the file can be believed
	header    []byte
	last      cached
}

// cached is the page that was read last.
type cached struct {
	number uint32
	data   []byte
}

// Open opens the file at path, and the log at logPath if there is one.
func Open(path, logPath string) (_ *Image, err error) {
	im := &Image{pageSize: defaultPageSize, inLog: make(map[uint32]int64)}
	defer func() {
		if err != nil {
			im.Close()
		}
	}()
	if im.file, err = regularfile.Open(path); err != nil {
		return nil, err
	}
	info, err := im.file.Stat()
	if err != nil {
		return nil, err
	}
	if im.log, err = regularfile.Open(logPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	im.header = make([]byte, 100)
	_, _ = im.file.ReadAt(im.header, 0) // what is missing is zero
	im.intact = isHeader(im.header)
	im.usable = im.pageSize
	if im.intact {
		im.pageSize = pageSizeIn(im.header)
		im.usable = im.pageSize - int(im.header[20])
	}
	im.pages = uint32((info.Size() + int64(im.pageSize) - 1) / int64(im.pageSize)) //nolint:gosec // SQLite has no more
	if im.log != nil {
		im.readLog()
	}
	if first := im.page(1); isHeader(first) {
		im.header, im.intact = bytes.Clone(first[:100]), true
	}
	return im, nil
}

// Close closes the files.
func (im *Image) Close() {
	for _, f := range []*os.File{im.file, im.log} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// isHeader reports whether a file that begins so is one of SQLite.
func isHeader(begin []byte) bool {
	if len(begin) < 100 {
		return false
	}
	size := pageSizeIn(begin)
	return bytes.HasPrefix(begin, []byte(magic)) && size >= 512 && size&(size-1) == 0 && size-int(begin[20]) >= 480
}

// pageSizeIn returns the size of pages that a header names.
func pageSizeIn(header []byte) int {
	size := int(binary.BigEndian.Uint16(header[16:]))
	if size == 1 {
		return 1 << 16
	}
	return size
}

// page returns the contents of a page, or nil if the file has no such page. What the file
// lacks of it is zero. The caller must not change the contents.
func (im *Image) page(number uint32) []byte {
	if number == 0 || number > im.pages {
		return nil
	}
	if im.last.number == number {
		return im.last.data
	}
	data := make([]byte, im.pageSize)
	if offset, has := im.inLog[number]; has {
		_, _ = im.log.ReadAt(data, offset)
	} else {
		_, _ = im.file.ReadAt(data, int64(number-1)*int64(im.pageSize)) // a page that can't be read is zero
	}
	im.last = cached{number, data}
	return data
}

// userVersion returns the version that the file's owner has written into its header.
func (im *Image) userVersion() uint32 { return binary.BigEndian.Uint32(im.header[60:]) }

// freePages returns the pages that hold nothing, and whether these are all of them.
func (im *Image) freePages() (free map[uint32]bool, all bool) {
	free = make(map[uint32]bool)
	if !im.intact {
		return free, false
	}
	trunk, count := binary.BigEndian.Uint32(im.header[32:]), binary.BigEndian.Uint32(im.header[36:])
	for trunk != 0 && !free[trunk] {
		data := im.page(trunk)
		if data == nil {
			return free, false
		}
		free[trunk] = true
		leaves := binary.BigEndian.Uint32(data[4:])
		if int64(leaves) > int64(im.usable/4-2) {
			return free, false
		}
		for n := range leaves {
			free[binary.BigEndian.Uint32(data[8+4*n:])] = true
		}
		trunk = binary.BigEndian.Uint32(data)
	}
	return free, uint32(len(free)) == count //nolint:gosec // SQLite has no more pages
}
