package images

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// requestText is a request as CRIU sends it, in the layout of 4.2 or of before.
func requestText(before42 bool, command uint16, flags uint32, pages, address, image uint64) []byte {
	order := binary.NativeEndian
	text := order.AppendUint32(nil, flags<<16|uint32(command))
	if before42 {
		text = order.AppendUint32(text, uint32(pages))
	} else {
		text = order.AppendUint32(text, 0xdeadbeef) // padding with leftovers
		text = order.AppendUint64(text, pages)
	}
	return order.AppendUint64(order.AppendUint64(text, address), image)
}

// kept are the page files that a server has handed over.
type kept map[string]*bytes.Buffer

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func (k kept) create(name string) (io.WriteCloser, error) {
	k[name] = new(bytes.Buffer)
	return nopCloser{k[name]}, nil
}

func TestPageServer(t *testing.T) {
	page := os.Getpagesize()
	memory := bytes.Repeat([]byte("dormouse"), 5*page/8)
	for name, before42 := range map[string]bool{"4.2": false, "before": true} {
		t.Run(name, func(t *testing.T) {
			files, dir := make(kept), t.TempDir()
			s, err := StartPageServer(dir, files.create)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for _, text := range [][]byte{
					requestText(before42, serverOpen, 0, 0, 0, 7<<8|ofProcess),
					requestText(before42, serverAdd, pagePresent, 2, 0x10000, 7<<8|ofProcess), memory[:2*page],
					requestText(before42, serverAdd, pageLazy, 9, 0x20000, 7<<8|ofProcess),
					requestText(before42, serverAdd, pagePresent|pageLazy, 1, 0x30000, 7<<8|ofProcess), memory[2*page : 3*page],
					requestText(before42, serverOpen, 0, 0, 0, 9<<8|ofSharedMemory),
					requestText(before42, serverAdd, pagePresent, 2, 0, 9<<8|ofSharedMemory), memory[3*page:],
					requestText(before42, serverClose, 0, 0, 0, 0),
				} {
					_, _ = s.criuEnd.Write(text)
				}
			}()
			if answers, err := io.ReadAll(io.LimitReader(s.criuEnd, 6)); err != nil || !bytes.Equal(answers, make([]byte, 6)) {
				t.Errorf("it answered %v: %v", answers, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			got := bytes.Join([][]byte{files["pages-1.img"].Bytes(), files["pages-2.img"].Bytes()}, nil)
			if !bytes.Equal(got, memory) || files["pages-1.img"].Len() != 3*page {
				t.Errorf("the page files have %d and %d bytes", files["pages-1.img"].Len(), files["pages-2.img"].Len())
			}
			for name, want := range map[string][][]uint64{
				"pagemap-7.img":       {{1}, {0x10000, 2, pagePresent, 2}, {0x20000, 9, pageLazy, 9}, {0x30000, 1, pagePresent | pageLazy, 1}},
				"pagemap-shmem-9.img": {{2}, {0, 2, pagePresent, 2}},
			} {
				if diff := cmp.Diff(want, numbers(t, filepath.Join(dir, name))); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

// numbers returns the field values of each entry of an image file.
func numbers(t *testing.T, path string) (all [][]uint64) {
	t.Helper()
	entries, err := readRawEntries(path, magicPagemap)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range entries {
		var entry []uint64
		for len(text) > 0 {
			number, n := binary.Uvarint(text[1:]) // the tags are of one byte
			entry, text = append(entry, number), text[1+n:]
		}
		all = append(all, entry)
	}
	return all
}

// A server that is not told all, or something that it does not know, ends and hangs
// up. What CRIU did not say, CRIU itself reports.
func TestPageServerCutShort(t *testing.T) {
	open := requestText(false, serverOpen, 0, 0, 0, 7<<8|ofProcess)
	for name, test := range map[string]struct {
		says []byte
		good bool
	}{
		"nothing":           {nil, true},
		"half a request":    {open[:20], true},
		"no end":            {open, true},
		"too little memory": {append(open, requestText(false, serverAdd, pagePresent, 1, 0, 7<<8|ofProcess)...), true},
		"unknown command":   {append(open, requestText(false, 99, 0, 0, 0, 0)...), false},
		"unknown kind":      {requestText(false, serverOpen, 0, 0, 0, 7<<8|3), false},
		"other memory":      {append(open, requestText(false, serverAdd, pagePresent, 1, 0, 8<<8|ofProcess)...), false},
	} {
		s, err := StartPageServer(t.TempDir(), make(kept).create)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.criuEnd.Write(test.says)
		if !test.good {
			_, _ = io.Copy(io.Discard, s.criuEnd) // until it hangs up
		}
		if err := s.Close(); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
