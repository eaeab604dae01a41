// A program that does one kind of work until it gets SIGUSR1, or until it is done, and says
// whether the work was disturbed.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t told;
static void tell(int n) { told = n; }

static const char *spin(void) {
	unsigned long sum = 0;
	for (unsigned long i = 0; !told; i++) sum += i & 1 ? i : -(i - 1);
	return "done";
}

static const char *suspend(void) {
	sigset_t none;
	sigemptyset(&none);
	return sigsuspend(&none) == -1 && errno == EINTR && told ? "done" : "not told";
}

static const char *nap(void) {
	struct timespec begun, now, length = {0, 300000000};
	clock_gettime(CLOCK_MONOTONIC, &begun);
	int error = clock_nanosleep(CLOCK_MONOTONIC, 0, &length, NULL);
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (error) return strerror(error);
	return (now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 >= 300 ? "done" : "too short";
}

static const char *reckon(void) { // uses floating-point registers
	double x = 1;
	while (!told) x = x * 1.5 / 1.5;
	return x == 1 ? "done" : "another number";
}

#ifdef __x86_64__
#include <sys/rseq.h>
// A critical section that is left only by being aborted, which the kernel does when
// it interrupts one.
static const char *section(void) {
	struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	if (!__rseq_size) return "absent";
	long aborted = 0;
	while (!told) {
		__asm__ volatile(
			".pushsection .data.rseq, \"aw\"\n.balign 32\n1:\n.long 0, 0\n.quad 2f, 3f - 2f, 4f\n.popsection\n"
			"lea 1b(%%rip), %%rax\n mov %%rax, %0\n"
			"2: jmp 2b\n3:\n"
			".pushsection .text.rseq, \"ax\"\n.byte 0x0f, 0xb9, 0x3d\n.long %c2\n4: inc %1\n jmp 5f\n.popsection\n5:\n"
			: "=m"(area->rseq_cs), "+r"(aborted) : "i"(RSEQ_SIG) : "rax", "memory", "cc");
	}
	return aborted ? "done" : "never aborted";
}
#else
static const char *section(void) { return "absent"; }
#endif

static void *idle(void *unused) {
	for (;;) pause();
	return unused;
}

static const struct { const char *name; const char *(*work)(void); } works[] = {
	{"spin", spin}, {"suspend", suspend}, {"nap", nap}, {"reckon", reckon}, {"section", section}, {0},
};

int main(int argc, char **argv) {
	struct sigaction a = {.sa_handler = tell};
	sigset_t one;
	pthread_t t;
	int i = 0;
	if (argc != 2 || prctl(PR_SET_PDEATHSIG, SIGKILL)) return 2;
	while (works[i].name && strcmp(works[i].name, argv[1])) i++;
	if (!works[i].name || sigaction(SIGUSR1, &a, NULL)) return 2;
	sigemptyset(&one), sigaddset(&one, SIGUSR1);
	if (works[i].work == suspend) sigprocmask(SIG_BLOCK, &one, NULL);
	pthread_create(&t, NULL, idle, NULL);
	printf("ready\n"), fflush(stdout);
	printf("%s\n", works[i].work());
	return 0;
}
