package salvage

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"
)

// errDamaged means that a cell is not one of SQLite's.
var errDamaged = errors.New("damaged")

// varint returns the number at the beginning of data and how many bytes it takes, 0 if data is
// too short.
func varint(data []byte) (value uint64, length int) {
	for n, b := range data {
		if n == 8 {
			return value<<8 | uint64(b), 9
		}
		value = value<<7 | uint64(b&0x7f)
		if b < 0x80 {
			return value, n + 1
		}
	}
	return 0, 0
}

// decode returns the values of a record: nil, int64, float64, string or []byte.
func decode(record []byte) (values []any, err error) {
	size, n := varint(record)
	if n == 0 || size < uint64(n) || size > uint64(len(record)) {
		return nil, errDamaged
	}
	types, body := record[n:size], record[size:]
	for len(types) > 0 {
		kind, n := varint(types)
		if n == 0 {
			return nil, errDamaged
		}
		types = types[n:]
		value, length, err := decodeValue(kind, body)
		if err != nil {
			return nil, err
		}
		values, body = append(values, value), body[length:]
	}
	if len(body) > 0 {
		return nil, errDamaged
	}
	return values, nil
}

// decodeValue returns the value of that kind at the beginning of body.
func decodeValue(kind uint64, body []byte) (value any, length int, err error) {
	length = lengthOf(kind)
	if length < 0 || length > len(body) {
		return nil, 0, errDamaged
	}
	raw := body[:length]
	switch {
	case kind == 0:
		return nil, 0, nil
	case kind <= 6:
		number := int64(int8(raw[0])) //nolint:gosec // the sign is meant
		for _, b := range raw[1:] {
			number = number<<8 | int64(b)
		}
		return number, length, nil
	case kind == 7:
		return math.Float64frombits(binary.BigEndian.Uint64(raw)), length, nil
	case kind <= 9:
		return int64(kind - 8), 0, nil //nolint:gosec // 0 or 1
	case kind%2 == 0:
		return append([]byte{}, raw...), length, nil
	case !utf8.Valid(raw):
		return nil, 0, errDamaged
	default:
		return string(raw), length, nil
	}
}

// lengthOf returns how many bytes a value of that kind takes, -1 for a kind that there is not.
func lengthOf(kind uint64) int {
	switch {
	case kind <= 4:
		return int(kind) //nolint:gosec // at most 4
	case kind == 5:
		return 6
	case kind == 6, kind == 7:
		return 8
	case kind == 8, kind == 9:
		return 0
	case kind < 12, kind > 1<<31:
		return -1
	default:
		return int(kind-12) / 2 //nolint:gosec // compared above
	}
}

// payload returns the contents of the cell at the beginning of data, which has that size: its
// first bytes, and the pages that hold the rest, which are marked as used.
func (im *Image) payload(data []byte, size uint64, isTable bool, used map[uint32]bool) ([]byte, error) {
	most := im.usable - 35
	if !isTable {
		most = (im.usable-12)*64/255 - 23
	}
	if size > 1<<31 {
		return nil, errDamaged
	}
	if int(size) <= most { //nolint:gosec // compared above
		if uint64(len(data)) < size {
			return nil, errDamaged
		}
		return data[:size], nil
	}
	least := (im.usable-12)*32/255 - 23
	local := least + (int(size)-least)%(im.usable-4) //nolint:gosec // compared above
	if local > most {
		local = least
	}
	if len(data) < local+4 {
		return nil, errDamaged
	}
	whole := append([]byte{}, data[:local]...)
	next := binary.BigEndian.Uint32(data[local:])
	for uint64(len(whole)) < size {
		page := im.page(next)
		if page == nil || used[next] {
			return nil, errDamaged
		}
		used[next] = true
		next = binary.BigEndian.Uint32(page)
		whole = append(whole, page[4:min(im.usable, 4+int(size)-len(whole))]...) //nolint:gosec // compared above
	}
	if next != 0 {
		return nil, errDamaged
	}
	return whole, nil
}
