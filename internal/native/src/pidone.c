/*
 * pid 1 of a plugin's PID namespace.
 *
 *   pidone PROGRAM [ARG...]   run PROGRAM as child, reap orphans, pass signals
 *                             on, end with PROGRAM's status and take every
 *                             descendant along
 *   pidone --files N PROGRAM [ARG...]
 *                             the same, and PROGRAM may open N files at most
 *   pidone --canary           the same around a child that holds a UDP socket
 *                             and a TCP listener on loopback and does nothing
 *
 * Exit status: PROGRAM's own, or 128 + signal. When PROGRAM can't be executed
 * one line "pidone: exec: errno N" goes to stdout and the status is 127.
 *
 * Freestanding on purpose: one of these runs beside every plugin, and is part
 * of every checkpoint, for as long as the plugin lives. It has no libc, no
 * heap and one thread, so that it costs two pages and next to no dump time.
 */
#include "sys.h"

#define SIGHUP 1
#define SIGINT 2
#define SIGQUIT 3
#define SIGKILL 9
#define SIGUSR1 10
#define SIGUSR2 12
#define SIGTERM 15
#define SIGCHLD 17
#define SIG_SETMASK 2
#define PR_SET_PDEATHSIG 1
#define PR_SET_CHILD_SUBREAPER 36
#define WNOHANG 1
#define RLIMIT_NOFILE 7
#define O_RDWR 2

static void report_exec(long err)
{
	char line[] = "pidone: exec: errno     \n";
	char *digit = line + sizeof(line) - 3;

	for (err = -err; err > 0; err /= 10)
		*digit-- = '0' + err % 10;
	sys(__NR_write, 1, (word)line, sizeof(line) - 1, 0);
}

static void canary(void)
{
	/* sockaddr_in: AF_INET = 2 in host order, any port, 127.0.0.1 */
	unsigned char loopback[16] = { 2, 0, 0, 0, 127, 0, 0, 1 };
	long udp = sys(__NR_socket, 2, 2, 0, 0);
	long tcp = sys(__NR_socket, 2, 1, 0, 0);

	if (sys(__NR_bind, udp, (word)loopback, sizeof(loopback), 0) < 0 ||
	    sys(__NR_bind, tcp, (word)loopback, sizeof(loopback), 0) < 0 ||
	    sys(__NR_listen, tcp, 1, 0, 0) < 0)
		leave(1);
	for (;;)
		sys(__NR_ppoll, 0, 0, 0, 0);
}

static int same(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return *a == *b;
}

/* It may fail to raise the limit; then a lower one is in force already. */
static void limit_files(const char *number)
{
	word limits[2] = { 0, 0 };

	for (; *number >= '0' && *number <= '9'; number++)
		limits[0] = limits[0] * 10 + *number - '0';
	limits[1] = limits[0];
	sys(__NR_prlimit64, 0, RLIMIT_NOFILE, (word)limits, 0);
}

/* The kernel, short of memory, is to spare the host, but not its plugins: a
 * value below 0, see oom_score_adj in proc_pid_oom_score_adj(5), is the host's
 * own. */
static void take_own_chance(void)
{
	char value = 0;
	long fd = sys(__NR_openat, AT_FDCWD, (word) "/proc/self/oom_score_adj", O_RDWR, 0);

	if (fd < 0)
		return;
	if (sys(__NR_read, fd, (word)&value, 1, 0) == 1 && value == '-')
		sys(__NR_pwrite64, fd, (word) "0", 1, 0);
	sys(__NR_close, fd, 0, 0, 0);
}

/* Kill and reap children until none is left; the orphans of those that die
 * become children in turn. A PID namespace does this by itself on exit, but
 * without privileges there is none. */
static void end_descendants(void)
{
	char list[512];

	for (;;) {
		long fd = sys(__NR_openat, AT_FDCWD, (word) "/proc/thread-self/children", 0, 0);
		long n = fd < 0 ? 0 : sys(__NR_read, fd, (word)list, sizeof(list) - 1, 0);
		long pid = 0;

		if (fd >= 0)
			sys(__NR_close, fd, 0, 0, 0);
		for (long i = 0; i < n; i++) {
			if (list[i] != ' ')
				pid = pid * 10 + list[i] - '0';
			else if (pid > 0) {
				sys(__NR_kill, pid, SIGKILL, 0, 0);
				pid = 0;
			}
		}
		if (n <= 0 || sys(__NR_wait4, -1, 0, 0, 0) < 0)
			return;
	}
}

void run(word *stack)
{
	long argc = stack[0];
	char **argv = (char **)(stack + 1);
	char **envp = argv + argc + 1;
	word every = ~0UL, none = 0;
	long child;
	int in_namespace = sys(__NR_getpid, 0, 0, 0, 0) == 1;

	if (argc < 2)
		leave(2);
	sys(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0);
	take_own_chance();
	sys(__NR_rt_sigprocmask, SIG_SETMASK, (word)&every, 0, 8);
	child = sys(__NR_clone, SIGCHLD, 0, 0, 0);
	if (child == 0) {
		long err;

		sys(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0);
		sys(__NR_rt_sigprocmask, SIG_SETMASK, (word)&none, 0, 8);
		if (same(argv[1], "--canary"))
			canary();
		if (argc > 3 && same(argv[1], "--files")) {
			limit_files(argv[2]);
			argv += 2;
		}
		err = sys(__NR_execve, (word)argv[1], (word)(argv + 1), (word)envp, 0);
		report_exec(err);
		leave(127);
	}
	if (child < 0)
		leave(126);

	for (;;) {
		long sig = sys(__NR_rt_sigtimedwait, (word)&every, 0, 0, 8);
		int status;
		long pid;

		switch (sig) {
		case SIGQUIT: /* the host: end now, with all that you have */
			sys(__NR_kill, child, SIGKILL, 0, 0);
			break;
		case SIGTERM:
		case SIGINT:
		case SIGHUP:
		case SIGUSR1:
		case SIGUSR2:
			sys(__NR_kill, child, sig, 0, 0);
			break;
		case SIGCHLD:
			while ((pid = sys(__NR_wait4, -1, (word)&status, WNOHANG, 0)) > 0) {
				if (pid != child)
					continue;
				if (!in_namespace)
					end_descendants();
				leave(status & 0x7f ? 128 + (status & 0x7f) : (status >> 8) & 0xff);
			}
		}
	}
}
