package archive

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"dormouse/internal/bytesize"
)

// Form is how an archive is compressed.
type Form string

// The forms of archives, named as the end of their file names.
const (
	TarZstd Form = "tar.zst"
	TarGzip Form = "tar.gz"
)

var (
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
	gzipMagic = []byte{0x1f, 0x8b}
)

// maxWindow is the most memory that an archive may ask its reader to look back on, which is
// what zstd needs up to its level 19.
const maxWindow = 8 << 20

// stream reads the tar of an archive within limits.
type stream struct {
	Form Form

	limits Limits
	source *source

	plain      io.Reader
	closePlain func()

	unpacked int64 // bytes of the tar that were read
	zeros    int64 // how many bytes the tar ends in so far that are zero
}

// openStream returns a stream of the archive. It must be closed. A nil progress is not called.
func openStream(ctx context.Context, r io.Reader, limits Limits, progress func(read int64)) (*stream, error) {
	s := &stream{limits: limits, source: &source{ctx: ctx, reader: r, limit: limits.Archive, progress: progress}}
	compressed := bufio.NewReaderSize(s.source, 256<<10)
	magic, err := compressed.Peek(len(zstdMagic))
	switch {
	case bytes.HasPrefix(magic, zstdMagic):
		s.Form = TarZstd
		d, err := zstd.NewReader(compressed, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, s.explain(err)
		}
		s.plain, s.closePlain = d, d.Close
	case bytes.HasPrefix(magic, gzipMagic):
		s.Form = TarGzip
		d, err := gzip.NewReader(compressed)
		if err != nil {
			return nil, s.explain(err)
		}
		s.plain, s.closePlain = d, func() { _ = d.Close() }
	case err != nil && !errors.Is(err, io.EOF):
		return nil, s.explain(err)
	case len(magic) == 0:
		return nil, refuse("", "the archive is empty")
	default:
		return nil, refuse("", "it is not an archive: it must be a tar.zst or tar.gz")
	}
	return s, nil
}

// close ends the stream, and the use of what it reads.
func (s *stream) close() {
	s.source.close()
	s.closePlain()
}

// Read reads bytes of the tar.
func (s *stream) Read(to []byte) (int, error) {
	n, err := s.plain.Read(to)
	s.unpacked += int64(n)
	if rest := bytes.TrimRight(to[:n], "\x00"); len(rest) > 0 {
		s.zeros = int64(n - len(rest))
	} else {
		s.zeros += int64(n)
	}
	// The decompressor reads ahead, so that the ratio is at least as large as it seems here.
	if s.unpacked > s.limits.RatioFrom && s.unpacked/s.limits.Ratio > s.source.read() {
		return n, refuse("", "its files are more than %d times as large as the archive", s.limits.Ratio)
	}
	return n, err
}

// finish reads what follows the last file, which must be zeros, and the end of the archive.
func (s *stream) finish() error {
	const endOfTar = 1024
	if s.zeros < endOfTar {
		return refuse("", "the archive is cut short")
	}
	buffer := make([]byte, 32<<10)
	for rest := int64(0); ; {
		n, err := s.Read(buffer)
		if rest += int64(n); rest > 1<<20 || len(bytes.TrimLeft(buffer[:n], "\x00")) > 0 {
			return refuse("", "something follows the end of the archive")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return s.explain(err)
		}
	}
}

// explain returns the cause of an error of reading: what is wrong with the source, or with the
// archive.
func (s *stream) explain(err error) error {
	if broken := s.source.brokenBy(); broken != nil {
		return broken
	}
	if _, refused := errors.AsType[*RefusedError](err); refused {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return refuse("", "the archive is cut short")
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return refuse("", "the archive was compressed with a window of more than %s; compress it with `zstd -19` at most", bytesize.Format(maxWindow))
	}
	return refuse("", "the archive is damaged: %w", err)
}
