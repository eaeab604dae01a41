package shell

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// maxQuestionTime is how long a stream counts as a call while its caller has not ended the
// requests, and once its plugin has begun to answer. A unary call does both at once.
const maxQuestionTime = 100 * time.Millisecond

// admittedStream is a stream that counts as in flight until it ends. Whether it is a unary
// call is seen by what happens on it: it counts as a call, which a hibernation waits for,
// if its requests end with the first message, and until the plugin has begun to answer, up to the
// call timeout. Any other counts as a stream, which a hibernation ends.
type admittedStream struct {
	grpc.ClientStream
	shell  *Shell
	single bool // the plugin sends one message only
	probe  bool
	cancel context.CancelFunc // ends the stream

	mu        sync.Mutex
	end       context.Context // ends when the stream must end
	forget    func() bool     // of end
	left      bool            // it does not count any more
	isStream  bool            // it counts as a stream
	sent      int             // messages of the caller
	closed    bool            // the caller has ended its messages
	received  int             // messages of the plugin
	answering bool            // the plugin has begun to answer
	timer     *time.Timer     // calls countAsStreamIfNoQuestion
}

// newAdmittedStream returns a stream that counts as a call and is ended by cancel. Its
// ClientStream is yet to be set. A probe counts as a stream from the first.
func newAdmittedStream(end context.Context, s *Shell, cancel context.CancelFunc, single, probe bool) *admittedStream {
	a := &admittedStream{shell: s, single: single, probe: probe, cancel: cancel, end: end, forget: context.AfterFunc(end, cancel)}
	a.mu.Lock()
	defer a.mu.Unlock()
	if probe {
		a.countAsStreamLocked()
	} else {
		a.timer = time.AfterFunc(maxQuestionTime, a.countAsStreamIfNoQuestion)
	}
	return a
}

// leave ends the stream, which then no longer counts as in flight.
func (a *admittedStream) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left {
		return
	}
	a.left = true
	a.forget()
	a.cancel()
	if a.timer != nil {
		a.timer.Stop()
	}
	if !a.probe {
		a.shell.noteUse()
	}
	if a.isStream { // a probe is one from the first
		a.shell.inFlight.leaveStream()
	} else {
		a.shell.inFlight.leaveCall()
	}
}

// countAsStream counts the stream as one from now on.
func (a *admittedStream) countAsStream() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.countAsStreamLocked()
}

// countAsStreamLocked is countAsStream for a caller that holds mu.
func (a *admittedStream) countAsStreamLocked() {
	if a.left || a.isStream {
		return
	}
	a.isStream = true
	a.forget()
	if a.probe {
		a.end = a.shell.inFlight.turnProbeIntoStream()
	} else {
		a.end = a.shell.inFlight.turnCallIntoStream()
	}
	a.forget = context.AfterFunc(a.end, a.cancel)
}

// countAsStreamIfNoQuestion counts the stream as one unless its requests have ended with the
// first message. Such a one counts as a call for the rest of the call timeout.
func (a *admittedStream) countAsStreamIfNoQuestion() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed || a.sent != 1 {
		a.countAsStreamLocked()
		return
	}
	if !a.left {
		a.timer = time.AfterFunc(time.Duration(a.shell.Config().CallTimeout), a.countAsStream)
	}
}

// noteHeader notes that the plugin has begun to answer. An answer that has not ended soon is
// one of a stream.
func (a *admittedStream) noteHeader() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left || a.isStream || a.answering {
		return
	}
	a.answering = true
	a.timer.Stop()
	a.timer = time.AfterFunc(maxQuestionTime, a.countAsStream)
}

// noteReceived counts a message of the plugin. The second one makes it a stream.
func (a *admittedStream) noteReceived() {
	a.noteHeader()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.received++; a.received > 1 {
		a.countAsStreamLocked()
	}
}

// endErrorOr returns why the instance has ended the stream, if that made it fail with err,
// and otherwise err.
func (a *admittedStream) endErrorOr(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.end.Err() != nil && !errors.Is(err, io.EOF) {
		return context.Cause(a.end)
	}
	return err
}

// Header returns the header that the plugin sent. An error ends the stream.
func (a *admittedStream) Header() (metadata.MD, error) {
	header, err := a.ClientStream.Header()
	if err != nil {
		a.leave()
		return header, a.endErrorOr(err)
	}
	a.noteHeader()
	return header, nil
}

// RecvMsg receives one message. The stream ends with an error, and after the only message
// if the plugin sends one only. The error is ErrHibernated or ErrNotAnswered if the
// instance ended the stream.
func (a *admittedStream) RecvMsg(m any) error {
	err := a.ClientStream.RecvMsg(m)
	if err == nil && !a.single {
		a.noteReceived()
		return nil
	}
	a.leave()
	if err == nil {
		return nil
	}
	return a.endErrorOr(err)
}

// SendMsg sends one message. After io.EOF the caller gets the error of the stream from
// RecvMsg; any other error ends the stream.
func (a *admittedStream) SendMsg(m any) error {
	a.noteSent()
	err := a.ClientStream.SendMsg(m)
	if err == nil || errors.Is(err, io.EOF) { // after io.EOF, RecvMsg returns the error of the stream
		return err
	}
	a.leave()
	return a.endErrorOr(err)
}

// noteSent counts a message of the caller. The second one makes it a stream.
func (a *admittedStream) noteSent() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sent++; a.sent > 1 {
		a.countAsStreamLocked()
	}
}

// CloseSend ends the caller's messages.
func (a *admittedStream) CloseSend() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	return a.ClientStream.CloseSend()
}
