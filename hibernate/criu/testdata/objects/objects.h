// The subject of the table in docs/sleeping.md: a program that sets one kernel
// object up and uses it, says "ready", uses the object again whenever it is told "use",
// and when it is told "check" says whether the object is what it was.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Each object is set up by one function before the first sleep, and looked at by another
// after the last one. It is used before the first sleep and after each.
struct object {
	const char *name;
	void (*set)(void);
	void (*check)(void); // may use the object up
	void (*use)(void);   // may be NULL, if the object can be used only once
};

extern const struct object files[], memory[], processes[], sockets[], rights[], times[], options[], kernelfiles[], threads[], othersockets[], mappings[];

// CHECK ends the program with what does not hold.
#define CHECK(x)                                                                               \
	do {                                                                                   \
		errno = 0;                                                                     \
		if (!(x)) fail(#x, __FILE__, __LINE__);                                        \
	} while (0)
void fail(const char *what, const char *file, int line);
// absent ends the program where the machine lacks the object.
void absent(const char *why);

// A kid is a child that answers one byte with another.
struct kid {
	pid_t pid;
	int to, from;
};
struct kid kid(void (*begin)(void), int (*answer)(int));
int ask(struct kid *k, int c);
int plus(int c); // an answer: c + 1

// line returns the line of a file in /proc that begins with key.
const char *line(const char *path, const char *key);
// flags returns the VmFlags of the mapping that begins at p.
const char *flags(const void *p);
