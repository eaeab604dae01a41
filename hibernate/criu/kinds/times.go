package kinds

// times are the kinds of timers without a descriptor, and of waits.
var times = Table{
	{Kind: "timer", Fate: ComesBack, Text: "timer_create, in monotonic, wall and processor time, and setitimer, all three: they go on with the time that was left"},
	{Kind: "sleeping-thread", Fate: ComesBack, Text: "a thread in nanosleep or in poll with a timeout: goes on, or ends with EINTR as after a signal"},
	{Kind: "clock", Fate: ComesBack, Text: "monotonic time stands still, wall time does not"},
}
