// Package shellpb is the contract between a host and a plugin process: the
// generated code of shell.proto and what both ends agree on beside it.
package shellpb

// What host and plugin agree on before the first call, in go-plugin's terms.
// The cookie is no secret: it tells a program that it was started by a host
// and not by hand.
const (
	ProtocolVersion = 1
	CookieKey       = "DORMOUSE_PLUGIN"
	CookieValue     = "88703c9f7715bb1a8e95f2c89af309de"
)

// MaxMessage is the size in bytes of the largest message that either end
// sends or takes.
const MaxMessage = 8 << 20

// The services that a plugin may list in its Information, besides
// statecontrol.ServiceName and those of its own.
const (
	DispatcherService = "dormouse.shell.v1.Dispatcher"
	HooksService      = "dormouse.shell.v1.Hooks"
)
