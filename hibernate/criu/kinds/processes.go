package kinds

// processes are what a whole process may be or have, besides descriptors and memory.
var processes = Table{
	{Kind: "family", Fate: ComesBack, Text: "children, grandchildren, orphans, zombies with their status, stopped children; sessions and process groups; children that fork and execute all the time"},
	{Kind: "traced", Fate: Refused, Text: "a child under a debugger",
		Name: "is being traced", Advice: "end the debugger first"},
	{Kind: "namespace", Fate: Refused, Text: "a namespace of a child: user, PID, mount, network, UTS, IPC, cgroup or time",
		Name: "has a namespace of its own", Advice: "the program must not make namespaces (unshare, containers)"},
	{Kind: "other-mounts", Fate: Refused, Text: "other mounts than the host's, because an earlier host started the plugin",
		Name: "has other mounts than the host, because an earlier host started it", Advice: "start it again; the unit must not have PrivateTmp, ProtectSystem and their like where plugins outlive the host"},
	{Kind: "cgroup", Fate: Refused, Text: "a child in a cgroup of its own",
		Name: "is in a cgroup of its own", Advice: "it would wake up in the plugin's: the program must not make cgroups"},
	{Kind: "vfork", Fate: Refused, Text: "a vfork that lasts", Passing: true,
		Name: "holds a process in a vfork", Advice: "it must execute another program at once, or end"},
	{Kind: "shared-descriptors", Fate: ComesBack, Text: "processes that share one descriptor table (CLONE_FILES)"},
	{Kind: "shared-directory", Fate: Refused, Text: "processes that share their working directory (CLONE_FS)",
		Name: "shares its working directory", Advice: "the program must fork without CLONE_FS"},
	{Kind: "shared-memory", Fate: Refused, Text: "processes that share their memory (CLONE_VM)",
		Name: "shares its memory", Advice: "the program must use threads, or fork without CLONE_VM"},
	{Kind: "directories", Fate: ComesBack, Text: "umask, working directory, also a deleted one, and a chroot"},
	{Kind: "limits", Fate: ComesBack, Text: "resource limits"},
	{Kind: "process-settings", Fate: ComesBack, Text: "oom_score_adj, coredump_filter, PR_SET_DUMPABLE, PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_THP_DISABLE"},
	{Kind: "mdwe", Fate: Refused, Text: "PR_SET_MDWE", OnlyStopped: true,
		Name: "has PR_SET_MDWE", Advice: "it would wake up without: the program must do without, " + orPageOut},
	{Kind: "personality", Fate: Refused, Text: "personality(2) other than the host's",
		Name: "has another personality", Advice: "it would be lost: start it without setarch"},
	{Kind: "session-keyring", Fate: Lost, Text: "a session keyring of its own: the process wakes up in the host's; join it again in `AfterRestore`"},
}
