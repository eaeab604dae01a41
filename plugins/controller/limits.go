package controller

import (
	"time"

	"dormouse/plugins/peer"
)

// limits bounds the connections, queues and time that clients can use. A peer.Memory bounds
// the bytes of their messages.
type limits struct {
	messageBytes  int64 // bytes of one message or body
	tcp, control  entranceLimits
	calls         int // in flight on one websocket; further messages are not read
	queueLength   int // messages waiting for one client
	queueBytes    int
	subscriptions int // of one websocket

	headerTime time.Duration // for the client to send the header of a request
	bodyTime   time.Duration // for the client to send the body
	idleTime   time.Duration // between two requests on one connection
	writeTime  time.Duration // for the client to take one message
	pingEvery  time.Duration
	pongTime   time.Duration // for the answer to a ping
}

// entranceLimits bounds how many clients are connected over TCP, or over the control socket.
// connections are those of HTTP, without websockets.
type entranceLimits struct{ connections, websockets peer.Limits }

// defaultLimits returns the limits of every front outside of tests.
func defaultLimits() limits {
	return limits{
		messageBytes: 1 << 20,
		tcp: entranceLimits{
			connections: peer.Limits{All: 512, Share: 256, Reserve: 32},
			websockets:  peer.Limits{All: 2048, Share: 1024, Reserve: 64, IdleAfter: time.Minute},
		},
		control: entranceLimits{
			connections: peer.Limits{All: 64, Share: 32, Reserve: 32},
			websockets:  peer.Limits{All: 64, Share: 32, Reserve: 32, IdleAfter: time.Minute},
		},
		calls:         64,
		queueLength:   1024,
		queueBytes:    8 << 20,
		subscriptions: 1024,
		headerTime:    10 * time.Second,
		bodyTime:      10 * time.Second,
		idleTime:      60 * time.Second,
		writeTime:     10 * time.Second,
		pingEvery:     30 * time.Second,
		pongTime:      10 * time.Second,
	}
}
