package controller

// condition is what a number is called. Where a dialect's column is empty, its
// code is made from the number and its text is "ERROR_" with the name.
type condition struct {
	name   string
	r4, r5 wire
	// spoken numbers say too little: the cause is the message. The texts of all
	// others are fixed, since clients compare them.
	spoken bool
}

// wire is an error as a dialect writes it.
type wire struct {
	code int
	text string
}

// conditions is the one table of errors: every number of Thunder's, in its own
// spelling, and the front's own.
var conditions = map[number]condition{
	0:                  {name: "NONE"},
	general:            {name: "GENERAL", spoken: true},
	unavailable:        {name: "UNAVAILABLE", r5: wire{-31002, "The service is not active."}},
	3:                  {name: "ASYNC_FAILED"},
	4:                  {name: "ASYNC_ABORTED"},
	illegalState:       {name: "ILLEGAL_STATE", r4: wire{5, "The service is in an illegal state!!!."}, r5: wire{-31005, "The service is in an illegal state."}},
	openingFailed:      {name: "OPENING_FAILED", spoken: true},
	7:                  {name: "ACCEPT_FAILED"},
	8:                  {name: "PENDING_SHUTDOWN"},
	9:                  {name: "ALREADY_CONNECTED"},
	10:                 {name: "CONNECTION_CLOSED"},
	timedOut:           {name: "TIMEDOUT", r4: wire{-32000, "Call timed out."}, r5: wire{-32000, "Call timed out."}, spoken: true},
	inProgress:         {name: "INPROGRESS"},
	13:                 {name: "COULD_NOT_SET_ADDRESS"},
	14:                 {name: "INCORRECT_HASH"},
	15:                 {name: "INCORRECT_URL", r4: wire{15, "Designator is invalid."}, r5: wire{-31015, "Designator is invalid."}},
	16:                 {name: "INVALID_INPUT_LENGTH"},
	17:                 {name: "DESTRUCTION_SUCCEEDED"},
	destructionFailed:  {name: "DESTRUCTION_FAILED"},
	closingFailed:      {name: "CLOSING_FAILED", spoken: true},
	processTerminated:  {name: "PROCESS_TERMINATED"},
	21:                 {name: "PROCESS_KILLED"},
	unknownKey:         {name: "UNKNOWN_KEY"},
	incompleteConfig:   {name: "INCOMPLETE_CONFIG"},
	privilegedRequest:  {name: "PRIVILIGED_REQUEST", r4: wire{-32604, "method invocation not allowed."}, r5: wire{-32604, "Method invocation not allowed."}},
	25:                 {name: "RPC_CALL_FAILED"},
	26:                 {name: "UNREACHABLE_NETWORK"},
	27:                 {name: "REQUEST_SUBMITTED"},
	28:                 {name: "UNKNOWN_TABLE"},
	duplicateKey:       {name: "DUPLICATE_KEY"},
	badRequest:         {name: "BAD_REQUEST", r4: wire{-32603, "Could not access requested service"}},
	pendingConditions:  {name: "PENDING_CONDITIONS"},
	32:                 {name: "SURFACE_UNAVAILABLE"},
	33:                 {name: "PLAYER_UNAVAILABLE"},
	34:                 {name: "FIRST_RESOURCE_NOT_FOUND"},
	35:                 {name: "SECOND_RESOURCE_NOT_FOUND"},
	36:                 {name: "ALREADY_RELEASED"},
	37:                 {name: "NEGATIVE_ACKNOWLEDGE"},
	invalidSignature:   {name: "INVALID_SIGNATURE", r4: wire{-32602, "Requested version is not supported."}, r5: wire{-31038, "Requested version is not supported."}},
	39:                 {name: "READ_ERROR"},
	40:                 {name: "WRITE_ERROR"},
	invalidDesignator:  {name: "INVALID_DESIGNATOR", r4: wire{-32600, "Destined invoke failed."}},
	42:                 {name: "UNAUTHENTICATED"},
	notExist:           {name: "NOT_EXIST", r4: wire{-32603, "Could not access requested service"}, r5: wire{-31043, "The service is not available."}},
	notSupported:       {name: "NOT_SUPPORTED", r5: wire{-31044, "The operation is not supported."}, spoken: true},
	45:                 {name: "INVALID_RANGE"},
	hibernated:         {name: "HIBERNATED", r4: wire{46, "The service is in an Hibernated state!!!."}, r5: wire{-31046, "The service is hibernated."}},
	inProcess:          {name: "INPROC"},
	failedRegistered:   {name: "FAILED_REGISTERED", r4: wire{22, "Registration already done!!!."}, r5: wire{-31048, "Registration failed."}},
	failedUnregistered: {name: "FAILED_UNREGISTERED", r4: wire{22, "Unregister was already done!!!."}, r5: wire{-31048, "Unregister failed."}},
	parseFailure:       {name: "PARSE_FAILURE", spoken: true},
	51:                 {name: "PRIVILIGED_DEFERRED", r4: wire{-32604, "Method invocation is deferred, currently not allowed."}, r5: wire{-32604, "Method invocation is deferred, currently not allowed."}},
	invalidEnvelope:    {name: "INVALID_ENVELOPPE", r4: wire{-32600, "Invalid request."}, r5: wire{-32600, "Invalid request."}, spoken: true},
	unknownMethod:      {name: "UNKNOWN_METHOD", r4: wire{-32601, "Unknown method."}, r5: wire{-32601, "Unknown method."}},
	invalidParameter:   {name: "INVALID_PARAMETER", r4: wire{-32602, "Invalid parameters."}, r5: wire{-32602, "Invalid parameters."}},
	internalError:      {name: "INTERNAL_JSONRPC", r4: wire{-32603, "Unknown JSON-RPC error."}, r5: wire{-32603, "Unknown JSON-RPC error."}},
	parsingEnvelope:    {name: "PARSING_ENVELOPPE", r4: wire{-32700, "Parsing of the parameters failed"}, r5: wire{-32700, "Parsing of the parameters failed"}, spoken: true},
	57:                 {name: "COMPOSIT_OBJECT"},
	aborted:            {name: "ABORTED"},
	59:                 {name: "CANCEL"},

	callNotActive:  {name: "UNAVAILABLE", r4: wire{2, "Service is not active"}, r5: wire{-31002, "The service is not active."}},
	callHibernated: {name: "HIBERNATED", r4: wire{46, "Service is hibernated"}, r5: wire{-31046, "The service is hibernated."}},
	noStateControl: {name: "UNAVAILABLE", r4: wire{2, "ERROR_UNAVAILABLE"}, r5: wire{-31044, "The operation is not supported."}},
	notJSON:        {name: "PARSING_ENVELOPPE", r4: wire{-32700, ""}, r5: wire{-31050, ""}, spoken: true},
	notRequest:     {name: "INVALID_ENVELOPPE", r4: wire{-32600, ""}, r5: wire{-31050, ""}, spoken: true},
}
