/*
 * Starts a program in a cgroup, for a caller that can only start one by path.
 *
 *   DIR/ANYTHING ARG...
 *
 * where ANYTHING is a link to this, DIR/cgroup a link to a directory of a
 * cgroup v2 and DIR/program a link to the program. The program is born inside
 * the cgroup, as a sibling of this process and with its ARGs; its PID goes to
 * DIR/pid, or nothing but a new line when it could not be born. Moving a running process there instead would cost a grace period of
 * the kernel's RCU, more than ten milliseconds.
 */
#include "sys.h"

#define O_RDONLY 0
#define O_WRONLY 01
#define O_CREAT 0100
#define O_EXCL 0200
#define O_CLOEXEC 02000000
#define CLONE_PARENT 0x00008000UL
#define CLONE_INTO_CGROUP 0x200000000UL

/* struct clone_args of clone3(2) */
struct arguments {
	unsigned long long flags, pidfd, child_tid, parent_tid, exit_signal;
	unsigned long long stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static void report(long dir, long pid)
{
	char text[24];
	char *digit = text + sizeof(text);
	long fd = sys(__NR_openat, dir, (word) "pid.new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	*--digit = '\n';
	for (; pid > 0; pid /= 10)
		*--digit = '0' + pid % 10;
	if (fd < 0 || sys(__NR_write, fd, (word)digit, text + sizeof(text) - digit, 0) < 0 ||
	    sys(__NR_renameat, dir, (word) "pid.new", dir, (word) "pid") < 0)
		leave(4);
}

void run(word *stack)
{
	long argc = stack[0];
	char **argv = (char **)(stack + 1);
	char **envp = argv + argc + 1;
	char *slash = 0;
	char program[4096];
	struct arguments how = { .flags = CLONE_PARENT | CLONE_INTO_CGROUP };
	long dir, cgroup, length, pid;

	for (char *c = argv[0]; *c; c++)
		if (*c == '/')
			slash = c;
	if (!slash)
		leave(2);
	*slash = 0;
	dir = sys(__NR_openat, AT_FDCWD, (word)argv[0], O_RDONLY | O_CLOEXEC, 0);
	cgroup = sys(__NR_openat, dir, (word) "cgroup", O_RDONLY | O_CLOEXEC, 0);
	length = sys(__NR_readlinkat, dir, (word) "program", (word)program, sizeof(program) - 1);
	if (dir < 0)
		leave(2);
	if (cgroup < 0 || length <= 0) {
		report(dir, 0);
		leave(2);
	}
	program[length] = 0;
	argv[0] = program;
	how.cgroup = cgroup;
	pid = sys(__NR_clone3, (word)&how, sizeof(how), 0, 0);
	if (pid == 0) {
		sys(__NR_execve, (word)program, (word)argv, (word)envp, 0);
		leave(127);
	}
	report(dir, pid < 0 ? 0 : pid);
	leave(pid < 0 ? 3 : 0);
}
