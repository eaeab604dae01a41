package controller

import "time"

// limits bounds the host's memory, connections and time that clients can use.
type limits struct {
	messageBytes  int64 // bytes of one message or body
	connections   int   // open HTTP connections, without websockets
	websockets    int
	calls         int // in flight on one websocket; further messages are not read
	queueLength   int // messages waiting for one client
	queueBytes    int
	allQueueBytes int64 // of all clients together, see queueBudget
	subscriptions int   // of one websocket

	headerTime time.Duration // for the client to send the header of a request
	bodyTime   time.Duration // for the client to send the body
	idleTime   time.Duration // between two requests on one connection
	writeTime  time.Duration // for the client to take one message
	pingEvery  time.Duration
	pongTime   time.Duration // for the answer to a ping
}

// defaultLimits returns the limits of every front outside of tests.
func defaultLimits() limits {
	return limits{
		messageBytes:  1 << 20,
		connections:   256,
		websockets:    1024,
		calls:         64,
		queueLength:   1024,
		queueBytes:    8 << 20,
		allQueueBytes: 128 << 20,
		subscriptions: 1024,
		headerTime:    5 * time.Second,
		bodyTime:      10 * time.Second,
		idleTime:      60 * time.Second,
		writeTime:     10 * time.Second,
		pingEvery:     30 * time.Second,
		pongTime:      10 * time.Second,
	}
}
