package queue

import "errors"

var (
	// ErrQueueFull means that a queue holds as much as its own rules allow.
	ErrQueueFull = errors.New("the queue is full")
	// ErrFull means that all queues together hold as much as they may, or that the disk is
	// full.
	ErrFull = errors.New("there is no room for more messages")
	// ErrTooLong means that a message is longer than MaxBody, MaxHeader or MaxID.
	ErrTooLong = errors.New("the message is too long")
	// ErrGone means that a message is not in its queue any more: it is done, or the queue was
	// dropped.
	ErrGone = errors.New("the message is not in the queue any more")
	// ErrDamaged means that the stored bytes of a message are not as they were written.
	ErrDamaged = errors.New("the stored message is damaged")
)
