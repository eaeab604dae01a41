package kinds

// memory are the kinds of mappings, and what is kept in them.
var memory = Table{
	{Kind: "anonymous", Fate: ComesBack, Text: "memory: heap, stacks, generated code, MAP_GROWSDOWN, memory shared with a child by fork, memory that may not be accessed"},
	{Kind: "advice", Fate: ComesBack, Text: "MADV_DONTDUMP, contents included, MADV_DONTFORK, MADV_WIPEONFORK, MADV_MERGEABLE, MADV_HUGEPAGE, MADV_GUARD_INSTALL, mlock"},
	{Kind: "mlockall-future", Fate: Lost, Text: "mlockall(MCL_FUTURE): call it again in `AfterRestore`"},
	{Kind: "sealed", Fate: Refused, Text: "mseal", OnlyStopped: true,
		Name: "has sealed memory (mseal)", Advice: "it would wake up unsealed: the program must do without, " + orPageOut},
	{Kind: "anonymous-shared", Fate: ComesBack, Text: "anonymous shared memory, with futexes and robust mutexes in it"},
	{Kind: "memfd", Fate: ComesBack, Text: "memfd of any size, its seals, shared with a child"},
	{Kind: "shm", Fate: ComesBack, Text: "memory made by shm_open, shared with a child, its name deleted"},
	{Kind: "file-mapping", Fate: ComesBack, Text: "mappings of files, shared or private with changed pages; also of a program whose file was deleted"},
	{Kind: "robust-mutex-file", Fate: Refused, Text: "a robust mutex in a shared file that a process holds", Passing: true, OnlyStopped: true,
		Name: "holds a robust mutex in the file", Advice: "it would wake up as one that died: unlock it in BeforeCheckpoint, or keep it in memory of no file"},
	{Kind: "sysv-shm", Fate: Refused, Text: "System V shared memory",
		Name: "has System V shared memory mapped", Advice: "the program must use shm_open or memfd_create instead"},
	{Kind: "device-mapping", Fate: Refused, Text: "mappings of devices, and of what has no file, such as a performance counter",
		Name: "has memory of a device mapped", Advice: "unmap it in BeforeCheckpoint"},
	{Kind: "overcommitted", Fate: Refused, Passing: true,
		Text:   "a private mapping, if only reserved, that is larger than memory and swap together, while vm.overcommit_memory is 0. A Go program has one of 512 MiB",
		Name:   "has a mapping that is larger than this machine's memory and swap",
		Advice: "CRIU could not restore it: set vm.overcommit_memory to 1, see sysctl.d(5)"},
	{Kind: "aio", Fate: ComesBack, Text: "contexts of asynchronous I/O (io_setup)"},
	{Kind: "sysv-sem", Fate: ComesBack, Text: "System V semaphores and message queues: they are the host's and stay where they are"},
	{Kind: "sysv-sem-undo", Fate: Refused, Text: "a System V semaphore that a process holds with SEM_UNDO: the end of the process would release it", Passing: true, OnlyStopped: true,
		Name: "holds a System V semaphore with SEM_UNDO", Advice: "it would be released while the plugin sleeps: release it in BeforeCheckpoint, or use flock"},
}
