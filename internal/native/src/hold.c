/*
 * Holds descriptors for a process that may be killed.
 *
 *   hold
 *
 * Descriptor 3 is a pidfd. Until the pidfd's process has ended, this program keeps its
 * other descriptors open, with the messages in the sockets among them. It ignores every
 * signal except SIGKILL.
 */
#include "sys.h"

#define SIG_BLOCK 0
#define POLLIN 1

struct pollfd {
	int fd;
	short events, revents;
};

void run(word *stack)
{
	struct pollfd process = { .fd = 3, .events = POLLIN };
	unsigned long all = ~0UL;

	(void)stack;
	if (sys(__NR_rt_sigprocmask, SIG_BLOCK, (word)&all, 0, sizeof(all)) < 0)
		leave(2);
	while (sys(__NR_ppoll, (word)&process, 1, 0, 0) != 1)
		;
	leave(0);
}
