// Package shellpb is the contract between the host and a plugin process: the generated
// code of shell.proto and flow.proto, and constants that both ends share.
package shellpb

// The handshake of go-plugin. The cookie is not secret: it shows a program that a host
// started it, and not a person.
const (
	ProtocolVersion = 1
	CookieKey       = "DORMOUSE_PLUGIN"
	CookieValue     = "88703c9f7715bb1a8e95f2c89af309de"
)

// MaxMessage is the size in bytes of the largest message that host or plugin sends or
// accepts.
const MaxMessage = 8 << 20

// Services of this contract that a plugin may list in its Information.
const (
	DispatcherService = "dormouse.shell.v1.Dispatcher"
	HooksService      = "dormouse.shell.v1.Hooks"
	FlowService       = "dormouse.shell.v1.Flow"
)

// Limits of a message of a flow and of the results of one message, see flow.proto. Results
// together are at most MaxMessage bytes.
const (
	MaxFlowID       = 256
	MaxFlowType     = 256
	MaxFlowMetadata = 60 << 10
	MaxFlowBody     = 1 << 20
	MaxFlowResults  = 1000
)
