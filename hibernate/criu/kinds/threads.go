package kinds

// threads are what a single thread may be or have.
var threads = Table{
	{Kind: "thread", Fate: ComesBack, Text: "threads, with their own variables, names, policy, nice and affinity"},
	{Kind: "scheduling", Fate: ComesBack, Text: "nice, SCHED_BATCH, SCHED_FIFO and its priority, I/O priority, processor affinity, timer slack"},
	{Kind: "signals", Fate: ComesBack, Text: "handlers, blocked and queued signals, the signal stack"},
	{Kind: "rights", Fate: ComesBack, Text: "users and groups, capabilities (all five sets), securebits, no_new_privs, seccomp filters that the plugin has set"},
	{Kind: "other-user", Fate: Refused, Text: "a child that runs as another user, where the host lacks CAP_SYS_RESOURCE",
		Name: "runs as another user", Advice: "the host needs the capability CAP_SYS_RESOURCE for that"},
	{Kind: "landlock", Fate: Refused, Text: "a Landlock domain, of a process or of a single thread, see below", OnlyStopped: true,
		Name: "has the Landlock domain of a thread", Advice: "it would wake up without: restrict it otherwise (seccomp, capabilities, another user), " + orPageOut},
}
