package thunder

import "fmt"

// ErrorNumber is an error number of Thunder's, or one of the host's variants below
// zero, which the dialects number or word differently.
type ErrorNumber int

// The numbers that the host itself fails with. A plugin may answer with any other.
const (
	General            ErrorNumber = 1
	Unavailable        ErrorNumber = 2
	IllegalState       ErrorNumber = 5
	OpeningFailed      ErrorNumber = 6
	TimedOut           ErrorNumber = 11
	InProgress         ErrorNumber = 12
	InvalidInputLength ErrorNumber = 16
	DestructionFailed  ErrorNumber = 18
	ClosingFailed      ErrorNumber = 19
	ProcessTerminated  ErrorNumber = 20
	UnknownKey         ErrorNumber = 22
	IncompleteConfig   ErrorNumber = 23
	PrivilegedRequest  ErrorNumber = 24
	RPCCallFailed      ErrorNumber = 25
	DuplicateKey       ErrorNumber = 29
	BadRequest         ErrorNumber = 30
	PendingConditions  ErrorNumber = 31
	InvalidSignature   ErrorNumber = 38
	InvalidDesignator  ErrorNumber = 41
	Unauthenticated    ErrorNumber = 42
	NotExist           ErrorNumber = 43
	NotSupported       ErrorNumber = 44
	InvalidRange       ErrorNumber = 45
	Hibernated         ErrorNumber = 46
	InProcess          ErrorNumber = 47
	FailedRegistered   ErrorNumber = 48
	FailedUnregistered ErrorNumber = 49
	ParseFailure       ErrorNumber = 50
	InvalidEnvelope    ErrorNumber = 52
	UnknownMethod      ErrorNumber = 53
	InvalidParameter   ErrorNumber = 54
	InternalError      ErrorNumber = 55
	ParsingEnvelope    ErrorNumber = 56
	Aborted            ErrorNumber = 58
)

// Variants of numbers, for cases in which a dialect has another number or text.
const (
	CallNotActive  ErrorNumber = -1 // a call to an instance that is not active
	CallHibernated ErrorNumber = -2 // a call to a hibernated instance
	NoStateControl ErrorNumber = -3 // suspend or resume without state control
	NotJSON        ErrorNumber = -4 // a message that is not JSON
	NotRequest     ErrorNumber = -5 // JSON that is not a request
	EmptyPath      ErrorNumber = -6 // a file to delete without a name
)

// WireError is an error number as clients of one dialect receive it.
type WireError struct {
	Code int
	Text string
}

// meaning is the name of a number, and its code and text in each dialect. If those of
// a dialect are empty, the code is made from the number, and the text is "ERROR_"
// with the name. Clients compare the texts.
type meaning struct {
	name   string
	r4, r5 WireError
}

// meanings is the table of every number of Thunder's, in its own spelling, and of
// the host's variants.
var meanings = map[ErrorNumber]meaning{
	0:                  {name: "NONE"},
	General:            {name: "GENERAL"},
	Unavailable:        {name: "UNAVAILABLE", r5: WireError{-31002, "The service is not active."}},
	3:                  {name: "ASYNC_FAILED"},
	4:                  {name: "ASYNC_ABORTED"},
	IllegalState:       {name: "ILLEGAL_STATE", r4: WireError{5, "The service is in an illegal state!!!."}, r5: WireError{-31005, "The service is in an illegal state."}},
	OpeningFailed:      {name: "OPENING_FAILED"},
	7:                  {name: "ACCEPT_FAILED"},
	8:                  {name: "PENDING_SHUTDOWN"},
	9:                  {name: "ALREADY_CONNECTED"},
	10:                 {name: "CONNECTION_CLOSED"},
	TimedOut:           {name: "TIMEDOUT", r4: WireError{-32000, "Call timed out."}, r5: WireError{-32000, "Call timed out."}},
	InProgress:         {name: "INPROGRESS"},
	13:                 {name: "COULD_NOT_SET_ADDRESS"},
	14:                 {name: "INCORRECT_HASH"},
	15:                 {name: "INCORRECT_URL", r4: WireError{15, "Designator is invalid."}, r5: WireError{-31015, "Designator is invalid."}},
	InvalidInputLength: {name: "INVALID_INPUT_LENGTH"},
	17:                 {name: "DESTRUCTION_SUCCEEDED"},
	DestructionFailed:  {name: "DESTRUCTION_FAILED"},
	ClosingFailed:      {name: "CLOSING_FAILED"},
	ProcessTerminated:  {name: "PROCESS_TERMINATED"},
	21:                 {name: "PROCESS_KILLED"},
	UnknownKey:         {name: "UNKNOWN_KEY"},
	IncompleteConfig:   {name: "INCOMPLETE_CONFIG"},
	PrivilegedRequest:  {name: "PRIVILIGED_REQUEST", r4: WireError{-32604, "method invocation not allowed."}, r5: WireError{-32604, "Method invocation not allowed."}},
	RPCCallFailed:      {name: "RPC_CALL_FAILED"},
	26:                 {name: "UNREACHABLE_NETWORK"},
	27:                 {name: "REQUEST_SUBMITTED"},
	28:                 {name: "UNKNOWN_TABLE"},
	DuplicateKey:       {name: "DUPLICATE_KEY"},
	BadRequest:         {name: "BAD_REQUEST", r4: WireError{-32603, "Could not access requested service"}},
	PendingConditions:  {name: "PENDING_CONDITIONS"},
	32:                 {name: "SURFACE_UNAVAILABLE"},
	33:                 {name: "PLAYER_UNAVAILABLE"},
	34:                 {name: "FIRST_RESOURCE_NOT_FOUND"},
	35:                 {name: "SECOND_RESOURCE_NOT_FOUND"},
	36:                 {name: "ALREADY_RELEASED"},
	37:                 {name: "NEGATIVE_ACKNOWLEDGE"},
	InvalidSignature:   {name: "INVALID_SIGNATURE", r4: WireError{-32602, "Requested version is not supported."}, r5: WireError{-31038, "Requested version is not supported."}},
	39:                 {name: "READ_ERROR"},
	40:                 {name: "WRITE_ERROR"},
	InvalidDesignator:  {name: "INVALID_DESIGNATOR", r4: WireError{-32600, "Destined invoke failed."}},
	Unauthenticated:    {name: "UNAUTHENTICATED"},
	NotExist:           {name: "NOT_EXIST", r4: WireError{-32603, "Could not access requested service"}, r5: WireError{-31043, "The service is not available."}},
	NotSupported:       {name: "NOT_SUPPORTED", r5: WireError{-31044, "The operation is not supported."}},
	InvalidRange:       {name: "INVALID_RANGE"},
	Hibernated:         {name: "HIBERNATED", r4: WireError{46, "The service is in an Hibernated state!!!."}, r5: WireError{-31046, "The service is hibernated."}},
	InProcess:          {name: "INPROC"},
	FailedRegistered:   {name: "FAILED_REGISTERED", r4: WireError{22, "Registration already done!!!."}, r5: WireError{-31048, "Registration failed."}},
	FailedUnregistered: {name: "FAILED_UNREGISTERED", r4: WireError{22, "Unregister was already done!!!."}, r5: WireError{-31048, "Unregister failed."}},
	ParseFailure:       {name: "PARSE_FAILURE"},
	51:                 {name: "PRIVILIGED_DEFERRED", r4: WireError{-32604, "Method invocation is deferred, currently not allowed."}, r5: WireError{-32604, "Method invocation is deferred, currently not allowed."}},
	InvalidEnvelope:    {name: "INVALID_ENVELOPPE", r4: WireError{-32600, "Invalid request."}, r5: WireError{-32600, "Invalid request."}},
	UnknownMethod:      {name: "UNKNOWN_METHOD", r4: WireError{-32601, "Unknown method."}, r5: WireError{-32601, "Unknown method."}},
	InvalidParameter:   {name: "INVALID_PARAMETER", r4: WireError{-32602, "Invalid parameters."}, r5: WireError{-32602, "Invalid parameters."}},
	InternalError:      {name: "INTERNAL_JSONRPC", r4: WireError{-32603, "Unknown JSON-RPC error."}, r5: WireError{-32603, "Unknown JSON-RPC error."}},
	ParsingEnvelope:    {name: "PARSING_ENVELOPPE", r4: WireError{-32700, "Parsing of the parameters failed"}, r5: WireError{-32700, "Parsing of the parameters failed"}},
	57:                 {name: "COMPOSIT_OBJECT"},
	Aborted:            {name: "ABORTED"},
	59:                 {name: "CANCEL"},

	CallNotActive:  {name: "UNAVAILABLE", r4: WireError{2, "Service is not active"}, r5: WireError{-31002, "The service is not active."}},
	CallHibernated: {name: "HIBERNATED", r4: WireError{46, "Service is hibernated"}, r5: WireError{-31046, "The service is hibernated."}},
	NoStateControl: {name: "UNAVAILABLE", r4: WireError{2, "ERROR_UNAVAILABLE"}, r5: WireError{-31044, "The operation is not supported."}},
	NotJSON:        {name: "PARSING_ENVELOPPE", r4: WireError{-32700, "Parsing of the parameters failed"}, r5: WireError{-31050, "ERROR_PARSE_FAILURE"}},
	NotRequest:     {name: "INVALID_ENVELOPPE", r4: WireError{-32600, "Invalid request."}, r5: WireError{-31050, "ERROR_PARSE_FAILURE"}},
	EmptyPath:      {name: "UNKNOWN_KEY", r4: WireError{22, "ERROR_UNKNOWN_KEY"}, r5: WireError{-32604, "Method invocation not allowed."}},
}

// Thunder marks two kinds of numbers by a bit: those of native interfaces, and
// those of vendors, whose low 24 bits are a signed number.
const (
	nativeBit ErrorNumber = 1 << 31
	vendorBit ErrorNumber = 1 << 24
)

// Name returns Thunder's name of the number, such as ILLEGAL_STATE; empty if Thunder
// has no such number.
func (n ErrorNumber) Name() string { return meanings[n].name }

// R4Error returns the number as clients of Thunder R4 receive it.
func (n ErrorNumber) R4Error() WireError {
	m, known := meanings[n]
	switch {
	case n > 0 && n&nativeBit != 0:
		n &^= nativeBit
		return WireError{int(n) + 500, n.R4Error().Text}
	case n > 0 && n&vendorBit != 0:
		return n.vendorError()
	case !known:
		return WireError{int(n), "ERROR_GENERAL"}
	case m.r4 == (WireError{}):
		return WireError{int(n), "ERROR_" + m.name}
	}
	return m.r4
}

// R5Error returns the number as clients of Thunder R5 receive it.
func (n ErrorNumber) R5Error() WireError {
	m, known := meanings[n]
	switch {
	case n > 0 && n&nativeBit != 0:
		n &^= nativeBit
		return WireError{-31500 - int(n), n.R5Error().Text}
	case n > 0 && n&vendorBit != 0:
		return n.vendorError()
	case !known:
		return WireError{-31000 - int(n), fmt.Sprintf("Undefined Thunder error code: %d", n)}
	case m.r5 == (WireError{}):
		return WireError{-31000 - int(n), "ERROR_" + m.name}
	}
	return m.r5
}

// vendorError returns the code and text of a vendor's number, which are the same in
// every dialect.
func (n ErrorNumber) vendorError() WireError {
	own := int(int32(n<<8) >> 8) //nolint:gosec // only the low 24 bits count
	return WireError{own, fmt.Sprintf("Undefined Custom Error: %d", own)}
}
