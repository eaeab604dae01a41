package controller

import "time"

// limits is what clients may take from each other and from the host.
type limits struct {
	message       int64 // bytes of one message or body
	connections   int   // of HTTP, not counting websockets
	sockets       int
	calls         int // in flight on one websocket; reading waits beyond
	queueLength   int // messages not yet taken by a subscriber
	queueBytes    int
	allQueues     int64 // bytes, of all subscribers together, see budget
	subscriptions int   // on one websocket

	header    time.Duration // to send the header of a request
	body      time.Duration // to send its body
	idle      time.Duration // between two requests
	write     time.Duration // for the client to take one message
	pingEvery time.Duration
	pong      time.Duration // for the answer to a ping
}

func defaultLimits() limits {
	return limits{
		message:       1 << 20,
		connections:   256,
		sockets:       1024,
		calls:         64,
		queueLength:   1024,
		queueBytes:    8 << 20,
		allQueues:     128 << 20,
		subscriptions: 1024,
		header:        5 * time.Second,
		body:          10 * time.Second,
		idle:          60 * time.Second,
		write:         10 * time.Second,
		pingEvery:     30 * time.Second,
		pong:          10 * time.Second,
	}
}
