package kinds

// files are the kinds of files, of their locks, and of terminals.
var files = Table{
	{Kind: "file", Fate: ComesBack, Text: "files: position, flags and sharing; also renamed, deleted (up to 64 MiB on disk, holes don't count), or made with O_TMPFILE"},
	{Kind: "deleted-large", Fate: Refused, Text: "a deleted file of more than 64 MiB on its disk or in /dev/shm, open or mapped",
		Name: "a large deleted file", Advice: "close it in BeforeCheckpoint, or keep its name"},
	{Kind: "foreign-mount", Fate: Refused, Text: "files on mounts that are not the host's, such as POSIX message queues",
		Name: "a file on a mount that is not the host's", Advice: closeIt},
	{Kind: "directory", Fate: ComesBack, Text: "directories"},
	{Kind: "path", Fate: ComesBack, Text: "descriptors made with O_PATH"},
	{Kind: "lock", Fate: ComesBack, Text: "flock, fcntl locks, open file description locks: the host holds them for a sleeping plugin; if it is restarted and another process takes one, the wake waits for that. Leases; threads that wait for a lock"},
	{Kind: "descriptor-owner", Fate: ComesBack, Text: "owner and signal of a descriptor (F_SETOWN, F_SETSIG)"},
	{Kind: "pipe", Fate: ComesBack, Text: "pipes with data in them and their size"},
	{Kind: "packet-pipe", Fate: Refused, Text: "pipes in packet mode",
		Name: "a pipe in packet mode", Advice: "the program must do without O_DIRECT, or use a socket pair"},
	{Kind: "fifo", Fate: ComesBack, Text: "named pipes with data in them"},
	{Kind: "memory-device", Fate: ComesBack, Text: "/dev/null, zero, full, random, urandom"},
	{Kind: "terminal", Fate: ComesBack, Text: "pseudo terminals, their size and the data in them; as the controlling terminal, too"},
	{Kind: "device", Fate: Refused, Text: "any other device",
		Name: "the device", Advice: reopen},
	{Kind: "proc-of-process", Fate: Refused, Text: "open files of a process below /proc",
		Name: "a file of a process", Advice: "its number is another after the wake: open such files only to read them at once"},
}
