package main

// flowVerbs returns the verbs about flows.
func flowVerbs() []verb {
	return []verb{
		{
			name: "flow list", summary: "every flow, what waits in it, and why",
			example: "dormouse flow list",
			prepare: flowListVerb,
		},
		{
			name: "flow show", args: "FLOW", summary: "all that is known of one flow",
			example: "dormouse flow show frames",
			prepare: flowShowVerb,
		},
		{
			name: "flow run", args: "FLOW...", summary: "have messages processed as soon as the plugin is ready",
			doc:     "It may be said before the flow's package is there, and is kept by name.",
			example: "dormouse flow run frames",
			prepare: flowStateVerb("run", "running"),
		},
		{
			name: "flow pause", args: "FLOW...", summary: "take messages and have them wait",
			example: "dormouse flow pause frames",
			prepare: flowStateVerb("pause", "paused"),
		},
		{
			name: "flow stop", args: "FLOW...", summary: "refuse messages",
			example: "dormouse flow stop frames",
			prepare: flowStateVerb("stop", "stopped"),
		},
		{
			name: "flow publish", args: "FLOW [BODY]", summary: "send one message to a source",
			doc:     "BODY is text, @FILE, or - to read standard input; at most 1 MiB. Prints the message's ID.",
			example: "dormouse flow publish frames @frame.json --type application/json",
			prepare: flowPublishVerb,
		},
		{
			name: "flow dead list", args: "FLOW", summary: "the messages that could not be processed",
			example: "dormouse flow dead list frames",
			prepare: deadListVerb,
		},
		{
			name: "flow dead show", args: "FLOW KEY", summary: "one of them, with its body",
			example: "dormouse flow dead show frames 7 > body",
			prepare: deadShowVerb,
		},
		{
			name: "flow dead retry", args: "FLOW [KEY...]", summary: "have them processed again",
			example: "dormouse flow dead retry frames --all",
			prepare: deadChangeVerb("retry", "wait again"),
		},
		{
			name: "flow dead discard", args: "FLOW [KEY...]", summary: "throw them away",
			example: "dormouse flow dead discard frames 7",
			prepare: deadChangeVerb("discard", "thrown away"),
		},
	}
}
