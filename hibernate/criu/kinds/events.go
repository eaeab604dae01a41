package kinds

// events are the kinds of descriptors by which programs wait, and the other kinds without
// a file behind them.
var events = Table{
	{Kind: "eventfd", Fate: ComesBack, Text: "eventfd"},
	{Kind: "eventfd-semaphore", Fate: Refused, Text: "eventfd as a semaphore",
		Name: "an eventfd that is a semaphore", Advice: "it would come back as a plain one: close it in BeforeCheckpoint"},
	{Kind: "epoll", Fate: ComesBack, Text: "epoll"},
	{Kind: "signalfd", Fate: ComesBack, Text: "signalfd with a signal pending"},
	{Kind: "timerfd", Fate: ComesBack, Text: "timerfd: goes on with the time that was left"},
	{Kind: "ticking-timerfd", Fate: BroughtBack, Text: "a timerfd that ticks: goes on in step, ticks that were not read included, without a burst"},
	{Kind: "absolute-timerfd", Fate: BroughtBack, Text: "a timerfd with an absolute deadline: in wall time it fires at that time, or at the wake, and counts the ticks of the sleep"},
	{Kind: "alarm-timerfd", Fate: Refused, Text: "a timerfd of CLOCK_REALTIME_ALARM or CLOCK_BOOTTIME_ALARM",
		Name: "a timerfd that wakes the machine", Advice: "use CLOCK_REALTIME or CLOCK_BOOTTIME: a sleeping plugin is woken by calls only"},
	{Kind: "pidfd", Fate: ComesBack, Text: "pidfd of a process of the tree"},
	{Kind: "inotify", Fate: ComesBack, Text: "inotify watches; changes during the sleep cause no event, so read the files again in `AfterRestore`"},
	{Kind: "inotify-queued", Fate: Refused, Text: "inotify events not yet read",
		Name: "inotify with events to read", Advice: "read them, or close it in BeforeCheckpoint", Passing: true},
	{Kind: "fanotify", Fate: ComesBack, Text: "fanotify marks; the same as for inotify"},
	{Kind: "fanotify-queued", Fate: Refused, Text: "fanotify events not yet read",
		Name: "fanotify with events to read", Advice: "read them, or close it in BeforeCheckpoint", Passing: true},
	{Kind: "io_uring", Fate: Refused, Text: "io_uring",
		Name: "io_uring", Advice: "the program must do without io_uring (libuv: UV_USE_IO_URING=0)"},
	{Kind: "perf_event", Fate: Refused, Text: "performance counters, mapped ones too",
		Name: "a performance counter", Advice: "the program must close its performance counters first"},
	{Kind: "userfaultfd", Fate: Refused, Text: "userfaultfd",
		Name: "userfaultfd", Advice: "the program must do without userfaultfd"},
	{Kind: "landlock-ruleset", Fate: Refused, Text: "a Landlock ruleset that is open",
		Name: "a Landlock ruleset", Advice: "the program must close it once it has restricted itself; and see docs/sleeping.md, Landlock"},
}
