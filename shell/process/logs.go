package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"dormouse/hibernate"
)

// maxLine is how much of one line goes to the log; the rest is dropped, so that
// a plugin can't stall itself or fill the host's memory with one.
const maxLine = 16 << 10

// remembered is how many of the last lines of a pipe are kept for an error, and
// maxRemembered how much of each.
const (
	remembered    = 3
	maxRemembered = 512
)

// logs are the pipes that a tree has as stdout and stderr, or the files where it
// may outlive its host.
type logs struct {
	stdout, stderr *pipe
	first          chan string // stdout's first line, closed when there is none
	reading        sync.WaitGroup
}

// pipe is one of them.
type pipe struct {
	read   source
	write  *os.File
	key    string // CRIU's name of it
	stream string
	log    zerolog.Logger
	tail   *tail

	mu      sync.Mutex
	last    []string
	crashed bool
}

// source is the host's end of one.
type source interface {
	io.ReadCloser
	SetReadDeadline(t time.Time) error
}

// openLogs makes pipes, or files in dir unless that is "".
func openLogs(dir string, log zerolog.Logger, last *tail) (*logs, error) {
	l := &logs{first: make(chan string, 1)}
	var err error
	if l.stdout, err = openPipe(dir, "stdout", log, last); err != nil {
		return nil, err
	}
	if l.stderr, err = openPipe(dir, "stderr", log, last); err != nil {
		return nil, errors.Join(err, l.stdout.read.Close(), l.stdout.write.Close())
	}
	return l, nil
}

func openPipe(dir, stream string, log zerolog.Logger, last *tail) (*pipe, error) {
	p := &pipe{stream: stream, log: log.With().Str("stream", stream).Logger(), tail: last}
	if dir != "" {
		path := filepath.Join(dir, stream)
		s, w, err := openSpool(path)
		if err != nil {
			return nil, fmt.Errorf("cannot make a log file: %w", err)
		}
		p.read, p.write, p.key = s, w, strings.TrimPrefix(path, "/")
		return p, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a log pipe: %w", err)
	}
	p.read, p.write = &drain{File: r}, w
	if p.key, err = pipeKey(r); err != nil {
		return nil, errors.Join(err, r.Close(), w.Close())
	}
	return p, nil
}

// run begins to read, now that the tree has the other ends. With a handshake the
// first line of stdout is not for the log.
func (l *logs) run(handshake bool) {
	l.reading.Go(func() {
		first := l.first
		if !handshake {
			first = nil
		}
		l.stdout.pump(first)
	})
	l.reading.Go(func() { l.stderr.pump(nil) })
	_ = l.stdout.write.Close()
	_ = l.stderr.write.Close()
}

// handshake returns the first line that the plugin writes to stdout.
func (l *logs) handshake(ctx context.Context) (string, error) {
	select {
	case line, ok := <-l.first:
		if !ok {
			return "", errNoHandshake
		}
		return line, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%w: it wrote no line on its standard output", ctx.Err())
	}
}

var errNoHandshake = errors.New("it closed its standard output")

// ended tells files that nobody writes to them any more; a pipe notices.
func (l *logs) ended() {
	for _, p := range []*pipe{l.stdout, l.stderr} {
		if s, ok := p.read.(*spool); ok {
			_ = s.SetReadDeadline(time.Now())
		}
	}
}

// drained returns when all that ended processes wrote is read, or after limit.
func (l *logs) drained(limit time.Duration) {
	done := make(chan struct{})
	go func() {
		l.reading.Wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// close returns when all that the tree wrote is read. The tree has ended; a pipe
// that others hold open nevertheless is given up after a moment.
func (l *logs) close() {
	_ = l.stdout.write.Close()
	_ = l.stderr.write.Close()
	_ = l.stdout.read.SetReadDeadline(time.Now().Add(time.Second))
	_ = l.stderr.read.SetReadDeadline(time.Now().Add(time.Second))
	l.ended()
	l.reading.Wait()
	_ = l.stdout.read.Close()
	_ = l.stderr.read.Close()
}

// inherited are the write ends under the keys that the tree knew its pipes by.
func (l *logs) inherited(k pipeKeys) []hibernate.Inherited {
	return []hibernate.Inherited{{Key: k.Stdout, File: l.stdout.write}, {Key: k.Stderr, File: l.stderr.write}}
}

// pipeKeys are CRIU's names of the pipes, which change with every wake, or of the
// files.
type pipeKeys struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

func (l *logs) keys() pipeKeys { return pipeKeys{l.stdout.key, l.stderr.key} }

// pipeKey names a pipe by its inode, which both ends share.
func pipeKey(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.ErrUnsupported
	}
	return fmt.Sprintf("pipe:[%d]", st.Ino), nil
}

// pump reads lines to the end of the pipe. The first goes to first, unless that
// is nil.
func (p *pipe) pump(first chan<- string) {
	lines := bufio.NewReaderSize(p.read, maxLine)
	for {
		line, cut, err := readLine(lines)
		if err != nil {
			break
		}
		if first != nil {
			first <- line[:min(len(line), maxHandshake)]
			first = nil
			continue
		}
		p.tail.add(p.stream, line)
		p.remember(logLine(p.log, line, cut))
	}
	if first != nil {
		close(first)
	}
}

// remember keeps the line as one of the last. What follows the first line of a
// crash is a trace, which says less.
func (p *pipe) remember(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if line == "" || p.crashed {
		return
	}
	if p.crashed = isCrash(line); p.crashed {
		p.last = nil
	}
	if len(p.last) == remembered {
		p.last = slices.Delete(p.last, 0, 1)
	}
	p.last = append(p.last, line[:min(len(line), maxRemembered)])
}

// lastWords is an error that quotes the last lines, nil when there are none.
func (p *pipe) lastWords() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.last) == 0 {
		return nil
	}
	return fmt.Errorf("its last words: %q", strings.Join(p.last, "\n"))
}

// readLine returns the next line, at most maxLine bytes of it, and whether more
// was dropped.
func readLine(r *bufio.Reader) (line string, cut bool, err error) {
	data, more, err := r.ReadLine()
	line = string(data)
	for more && err == nil {
		cut = true
		_, more, err = r.ReadLine()
	}
	if errors.Is(err, io.EOF) && line != "" {
		err = nil
	}
	return line, cut, err
}
