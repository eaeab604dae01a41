/*
 * A process without secrets: another process may inspect it unless the kernel forbids
 * that other process to.
 *
 *   bystander UID GID
 *
 * It joins the PID namespace of descriptor 3, and has that user and group and no
 * capabilities. It writes its PID in the namespace to stdout, and ends when stdin ends.
 */
#include "sys.h"

#define CLONE_NEWPID 0x20000000
#define SIGCHLD 17
#define PR_SET_DUMPABLE 4

static long number(const char *text)
{
	long n = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		n = n * 10 + *text - '0';
	return n;
}

static void tell(long n)
{
	char text[24];
	char *digit = text + sizeof(text);

	*--digit = '\n';
	for (; n > 0; n /= 10)
		*--digit = '0' + n % 10;
	sys(__NR_write, 1, (word)digit, text + sizeof(text) - digit, 0);
}

void run(word *stack)
{
	char **argv = (char **)(stack + 1);
	struct { unsigned version; int pid; } header = { 0x20080522, 0 }; /* _LINUX_CAPABILITY_VERSION_3 */
	struct { unsigned effective, permitted, inheritable; } none[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
	long uid, gid, child;
	char end;

	if (stack[0] != 3 || sys(__NR_setns, 3, CLONE_NEWPID, 0, 0) < 0)
		leave(2);
	child = sys(__NR_clone, SIGCHLD, 0, 0, 0);
	if (child < 0)
		leave(3);
	if (child > 0) {
		sys(__NR_wait4, child, 0, 0, 0);
		leave(0);
	}
	uid = number(argv[1]);
	gid = number(argv[2]);
	if (sys(__NR_setgroups, 0, 0, 0, 0) < 0 || sys(__NR_setresgid, gid, gid, gid, 0) < 0 || sys(__NR_setresuid, uid, uid, uid, 0) < 0 ||
	    sys(__NR_capset, (word)&header, (word)none, 0, 0) < 0 || sys(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0) < 0)
		leave(4);
	tell(sys(__NR_getpid, 0, 0, 0, 0));
	sys(__NR_read, 0, (word)&end, 1, 0);
	leave(0);
}
