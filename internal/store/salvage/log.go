package salvage

import (
	"encoding/binary"
	"os"

	"dormouse/internal/regularfile"
)

// Lengths of the header of a log, and of that of each frame in it.
const (
	logHeader   = 32
	frameHeader = 24
)

// logReader reads the frames of a log: the pages that transactions have written.
type logReader struct {
	log      *os.File
	order    binary.ByteOrder // of the words that are summed
	salts    [8]byte
	pageSize int
	sum      [2]uint32 // of all up to here
}

// frame is one page in the log.
type frame struct {
	page   uint32
	commit uint32 // pages of the whole file, in the last frame of a transaction
	offset int64  // of the contents
	intact bool
}

// newLogReader returns a reader of the log's frames, or nil if its header is not one.
func newLogReader(log *os.File) *logReader {
	header := make([]byte, logHeader)
	if _, err := log.ReadAt(header, 0); err != nil {
		return nil
	}
	r := &logReader{log: log, pageSize: int(binary.BigEndian.Uint32(header[8:]))}
	switch binary.BigEndian.Uint32(header) {
	case 0x377f0682:
		r.order = binary.LittleEndian
	case 0x377f0683:
		r.order = binary.BigEndian
	default:
		return nil
	}
	r.add(header[:24])
	if r.sum != sumIn(header[24:]) || r.pageSize < 512 || r.pageSize > 1<<16 {
		return nil
	}
	copy(r.salts[:], header[16:24])
	return r
}

// sumIn returns the checksum that is written there.
func sumIn(written []byte) [2]uint32 {
	return [2]uint32{binary.BigEndian.Uint32(written), binary.BigEndian.Uint32(written[4:])}
}

// add adds data to the checksum.
func (r *logReader) add(data []byte) {
	for ; len(data) >= 8; data = data[8:] {
		r.sum[0] += r.order.Uint32(data) + r.sum[1]
		r.sum[1] += r.order.Uint32(data[4:]) + r.sum[0]
	}
}

// next returns the frame of that number, from 0; ok is false at the end of the log. A frame of
// an earlier use of the log is not intact. A frame that is not intact does not keep those that
// follow from being intact.
func (r *logReader) next(number int) (f frame, ok bool) {
	data := make([]byte, frameHeader+r.pageSize)
	at := logHeader + int64(number)*int64(len(data))
	if _, err := r.log.ReadAt(data, at); err != nil {
		return frame{}, false
	}
	r.add(data[:8])
	r.add(data[frameHeader:])
	isOwn := string(data[8:16]) == string(r.salts[:])
	f = frame{page: binary.BigEndian.Uint32(data), offset: at + frameHeader, intact: isOwn && r.sum == sumIn(data[16:])}
	if isOwn {
		f.commit = binary.BigEndian.Uint32(data[4:])
	}
	r.sum = sumIn(data[16:])
	return f, true
}

// forEachWhole calls apply with the intact frames of each transaction, or of more than one,
// that was on disk. One that has a damaged frame was if another follows, for that began later:
// wasDamaged reports whether there is one. SQLite would forget it, and what follows.
func (r *logReader) forEachWhole(apply func([]frame)) (wasDamaged bool) {
	var open []frame // that are not applied
	damaged, ended := false, false
	for number := 0; ; number++ {
		f, ok := r.next(number)
		if !ok {
			return wasDamaged
		}
		if !f.intact {
			damaged, ended = true, ended || f.commit != 0
			continue
		}
		if damaged && ended { // this one is of a transaction that follows
			apply(open)
			open, damaged, ended, wasDamaged = nil, false, false, true
		}
		open = append(open, f)
		switch {
		case f.commit == 0:
		case damaged:
			ended = true
		default:
			apply(open)
			open = nil
		}
	}
}

// readLog notes where the log has pages of transactions that were on disk.
func (im *Image) readLog() {
	r := newLogReader(im.log)
	if r == nil || im.intact && r.pageSize != im.pageSize {
		return
	}
	if !im.intact {
		im.pageSize, im.usable = r.pageSize, r.pageSize
	}
	r.forEachWhole(func(frames []frame) {
		for _, f := range frames {
			im.inLog[f.page] = f.offset
			if f.commit != 0 {
				im.pages = f.commit
			}
		}
	})
}

// IsLogDamaged reports whether the log at path has lost something that was on disk.
func IsLogDamaged(path string) bool {
	log, err := regularfile.Open(path)
	if err != nil {
		return false
	}
	defer log.Close()
	r := newLogReader(log)
	return r != nil && r.forEachWhole(func([]frame) {})
}
