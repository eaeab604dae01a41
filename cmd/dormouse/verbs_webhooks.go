package main

// webhookVerbs returns the verbs about webhooks.
func webhookVerbs() []verb {
	return []verb{
		{
			name: "webhook list", summary: "the webhooks that their targets have not taken",
			doc: "Those that were given up after a day, and the first of each subscription whose target fails, which\n" +
				"is tried again.",
			example: "dormouse webhook list",
			prepare: webhookListVerb,
		},
		{
			name: "webhook retry", args: "[KEY...]", summary: "have them sent at once",
			doc:     "With --all it sends all that were given up.",
			example: "dormouse webhook retry --all",
			prepare: webhookChangeVerb("retry", "sent again"),
		},
		{
			name: "webhook discard", args: "[KEY...]", summary: "throw them away",
			doc:     "With --all it throws all away that were given up.",
			example: "dormouse webhook discard 7",
			prepare: webhookChangeVerb("discard", "thrown away"),
		},
		{
			name: "webhook allow", args: "[TARGET...]", summary: "show or extend where webhooks may go",
			doc: "They go to public addresses, to what the configuration allows, and to each TARGET: a host name, an\n" +
				"address, a network, a port such as :8080, or one of the former with a port. It is kept.",
			example: "dormouse webhook allow hooks.internal 10.0.0.0/8:8443",
			prepare: webhookAllowVerb,
		},
		{
			name: "webhook disallow", args: "TARGET...", summary: "take back what was allowed so",
			example: "dormouse webhook disallow hooks.internal",
			prepare: webhookDisallowVerb,
		},
	}
}
