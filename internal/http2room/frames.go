package http2room

import "encoding/binary"

// header is the header of a frame.
type header struct {
	length      int
	kind, flags byte
	stream      uint32
}

// parseHeader returns the header at the beginning of p.
func parseHeader(p []byte) header {
	return header{
		length: int(p[0])<<16 | int(p[1])<<8 | int(p[2]),
		kind:   p[3], flags: p[4],
		stream: binary.BigEndian.Uint32(p[5:]) &^ (1 << 31),
	}
}

// frames follows the frames in bytes that come piece by piece.
type frames struct {
	skip int    // bytes of the present frame, or of the preface, that are still to come
	head []byte // the beginning of a header
}

// scan calls note with the header of each frame that begins in p.
func (f *frames) scan(p []byte, note func(header)) {
	for len(p) > 0 {
		if f.skip > 0 {
			n := min(f.skip, len(p))
			f.skip -= n
			p = p[n:]
			continue
		}
		if len(f.head) == 0 && len(p) >= headerLength {
			h := parseHeader(p)
			note(h)
			f.skip = h.length
			p = p[headerLength:]
			continue
		}
		n := min(headerLength-len(f.head), len(p))
		f.head = append(f.head, p[:n]...)
		p = p[n:]
		if len(f.head) == headerLength {
			h := parseHeader(f.head)
			note(h)
			f.skip = h.length
			f.head = f.head[:0]
		}
	}
}
