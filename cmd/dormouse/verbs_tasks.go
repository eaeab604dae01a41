package main

// taskVerbs returns the verbs about tasks.
func taskVerbs() []verb {
	return []verb{
		{
			name: "task list", args: "[NAME]", summary: "the tasks of all instances, or of one, newest first",
			doc:     "With --pending it lists only those that have not ended.",
			example: "dormouse task list --pending",
			prepare: taskListVerb,
		},
		{
			name: "task show", args: "ID", summary: "all that is known of one task, with its log",
			example: "dormouse task show 4kq2…",
			prepare: taskShowVerb,
		},
		{
			name: "task start", args: "NAME [JSON]", summary: "have a plugin run a task, and print its id",
			doc: "The parameters are a JSON object, or @FILE, or - for standard input.\n" +
				"With --follow it follows the task until its end.",
			example: `dormouse task start Optimizer '{"steps":100}' --follow`,
			prepare: taskStartVerb,
		},
		{
			name: "task follow", args: "ID", summary: "print what happens to a task until it ends",
			doc:     "The exit status is 1 if the task fails.",
			example: "dormouse task follow 4kq2…",
			prepare: taskFollowVerb,
		},
		{
			name: "task submit", args: "ID STEP [JSON]", summary: "give the values for a step that a task waits for",
			doc:     "The values are a JSON object, or @FILE, or - for standard input.",
			example: `dormouse task submit 4kq2… settings '{"rate":0.1}'`,
			prepare: taskSubmitVerb,
		},
		{
			name: "task cancel", args: "ID...", summary: "ask for the end of tasks",
			doc:     "A task that its plugin does not end within the grace fails as \"cancelled\".",
			example: "dormouse task cancel 4kq2…",
			prepare: taskCancelVerb,
		},
	}
}
