// Package output reads what a process tree writes to stdout and stderr, through
// pipes or through files that survive the host, and logs it line by line. It does
// not know plugins, and only names the pipes as an engine would.
package output

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dormouse/internal/timelimit"
)

// ErrNoLine means that the tree closed its stdout before it wrote a line.
var ErrNoLine = errors.New("it closed its standard output")

// maxLine is the number of bytes of one line that are logged. The rest is dropped,
// so that no line can stall the plugin or fill the host's memory.
const maxLine = 16 << 10

// MaxFirstLine is the number of bytes of the first line that WaitFirstLine returns.
const MaxFirstLine = 1024

// closeLimit is how long ReadRestAndClose waits for the end of a pipe that a process outside
// of the tree holds open.
const closeLimit = time.Second

// Streams are the stdout and the stderr of one process tree, each with the tree's
// end and the host's end.
type Streams struct {
	stdout, stderr *stream
	words          *lastWords  // of both streams
	firstLine      chan string // of stdout; closed when stdout ends without a line
	reading        sync.WaitGroup
}

// stream is the stdout or the stderr of a tree.
type stream struct {
	read  source
	write *os.File // the tree's end
	key   string
	name  string
	log   zerolog.Logger
	tail  *Tail
	words *lastWords
	limit *Limiter
}

// source is the host's end of a stream.
type source interface {
	io.ReadCloser
	SetReadDeadline(t time.Time) error
}

// OpenFilesOrPipes opens the stdout and the stderr of a tree that is about to start: as the
// files of these names in dir, which it makes if they are missing, or as pipes if dir is "".
// Nothing is read before StartReading. Each line that is read then goes to log, as far as
// limit lets it, and to tail unless that is nil.
func OpenFilesOrPipes(dir string, log zerolog.Logger, tail *Tail, limit *Limiter) (*Streams, error) {
	s := &Streams{words: &lastWords{}, firstLine: make(chan string, 1)}
	var err error
	if s.stdout, err = openFileOrPipe(dir, "stdout", log, tail, s.words, limit); err != nil {
		return nil, err
	}
	if s.stderr, err = openFileOrPipe(dir, "stderr", log, tail, s.words, limit); err != nil {
		return nil, errors.Join(err, s.stdout.read.Close(), s.stdout.write.Close())
	}
	return s, nil
}

// openFileOrPipe makes the file with the name in dir, or a pipe if dir is "", see
// OpenFilesOrPipes.
func openFileOrPipe(dir, name string, log zerolog.Logger, tail *Tail, words *lastWords, limit *Limiter) (*stream, error) {
	s := &stream{name: name, log: log.With().Str("stream", name).Logger(), tail: tail, words: words, limit: limit}
	if dir != "" {
		path := filepath.Join(dir, name)
		read, write, err := openOutputFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot make a log file: %w", err)
		}
		s.read, s.write, s.key = read, write, strings.TrimPrefix(path, "/")
		return s, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a log pipe: %w", err)
	}
	s.read, s.write = &pipeReader{File: r}, w
	if s.key, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", w.Fd())); err != nil { // "pipe:[inode]"
		return nil, errors.Join(err, r.Close(), w.Close())
	}
	return s, nil
}

// WriteEnds returns the tree's ends, which StartReading closes in the host.
func (s *Streams) WriteEnds() (stdout, stderr *os.File) { return s.stdout.write, s.stderr.write }

// StartReading begins to read both streams in the background and closes the tree's ends in
// the host, so it must be called after the tree has inherited them. With withholdFirstLine,
// the first line of stdout is for WaitFirstLine and is not logged.
func (s *Streams) StartReading(withholdFirstLine bool) {
	s.reading.Go(func() {
		if withholdFirstLine {
			s.stdout.readAndLogLines(s.firstLine)
		} else {
			s.stdout.readAndLogLines(nil)
		}
	})
	s.reading.Go(func() { s.stderr.readAndLogLines(nil) })
	s.closeWriteEnds()
}

// WaitFirstLine returns the first line of stdout. It waits for the line until ctx ends;
// the error wraps ErrNoLine when stdout was closed before.
func (s *Streams) WaitFirstLine(ctx context.Context) (string, error) {
	select {
	case line, ok := <-s.firstLine:
		if !ok {
			return "", ErrNoLine
		}
		return line, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%w: it wrote no line on its standard output", timelimit.EndError(ctx))
	}
}

// StopAtEOF makes the readers of files stop at the end of the file, since the tree has
// ended. The readers of pipes see the end by themselves.
func (s *Streams) StopAtEOF() {
	for _, one := range []*stream{s.stdout, s.stderr} {
		if file, ok := one.read.(*outputFile); ok {
			_ = file.SetReadDeadline(time.Now())
		}
	}
}

// WaitReadToEnd returns when all that the ended tree wrote is read, or after limit.
func (s *Streams) WaitReadToEnd(limit time.Duration) {
	done := make(chan struct{})
	go func() {
		s.reading.Wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// ReadRestAndClose reads the rest of both streams and closes them. The tree must have
// ended; a pipe that a process outside of the tree holds open is given up after a
// second.
func (s *Streams) ReadRestAndClose() {
	s.closeWriteEnds()
	_ = s.stdout.read.SetReadDeadline(time.Now().Add(closeLimit))
	_ = s.stderr.read.SetReadDeadline(time.Now().Add(closeLimit))
	s.StopAtEOF()
	s.reading.Wait()
	_ = s.stdout.read.Close()
	_ = s.stderr.read.Close()
}

// closeWriteEnds closes the tree's ends in the host.
func (s *Streams) closeWriteEnds() {
	_ = s.stdout.write.Close()
	_ = s.stderr.write.Close()
}

// LastWordsError returns an error that quotes the last lines of both streams, nil if there
// are none.
func (s *Streams) LastWordsError() error { return s.words.quoteError() }

// EngineKeys are the names by which CRIU knows the two streams of a tree: "pipe:[inode]",
// or a path without its first slash. The names of pipes change with every wake.
type EngineKeys struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

// EngineKeys returns the names by which CRIU knows these streams.
func (s *Streams) EngineKeys() EngineKeys { return EngineKeys{s.stdout.key, s.stderr.key} }

// readAndLogLines logs each line until the stream ends. Unless firstLine is nil, the first
// line is sent there instead, or the channel is closed if no line comes.
func (s *stream) readAndLogLines(firstLine chan<- string) {
	lines := bufio.NewReaderSize(s.read, maxLine)
	for {
		line, truncated, err := readLine(lines)
		if err != nil {
			break
		}
		if firstLine != nil {
			firstLine <- line[:min(len(line), MaxFirstLine)]
			firstLine = nil
			continue
		}
		s.tail.addLine(s.name, line)
		s.words.addLine(logLine(s.log, s.limit, line, truncated))
	}
	if firstLine != nil {
		close(firstLine)
	}
}

// readLine returns the next line, at most maxLine bytes of it, and whether the rest
// of the line was dropped.
func readLine(r *bufio.Reader) (line string, truncated bool, err error) {
	data, more, err := r.ReadLine()
	line = string(data)
	for more && err == nil {
		truncated = true
		_, more, err = r.ReadLine()
	}
	if errors.Is(err, io.EOF) && line != "" {
		err = nil
	}
	return line, truncated, err
}
