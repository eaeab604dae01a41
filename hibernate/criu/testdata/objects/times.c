#include "objects.h"
#include <poll.h>
#include <sys/time.h>
#include <sys/timerfd.h>

static timer_t timer;
static struct itimerspec left;
static struct timespec mono, wall;
static int fd, ends[2];
static volatile int done;

static double since(int clock, struct timespec *from) {
	struct timespec now;
	clock_gettime(clock, &now);
	return now.tv_sec - from->tv_sec + (now.tv_nsec - from->tv_nsec) / 1e9;
}
static void begin(void) { clock_gettime(CLOCK_MONOTONIC, &mono), clock_gettime(CLOCK_REALTIME, &wall); }

static void create(int clock) {
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec t = {{300, 0}, {600, 0}};
	signal(SIGUSR1, SIG_IGN);
	CHECK(timer_create(clock, &e, &timer) == 0 && timer_settime(timer, 0, &t, NULL) == 0);
}
static void posix_set(void) { create(CLOCK_MONOTONIC); }
static void posix_wall_set(void) { create(CLOCK_REALTIME); }
static void posix_cpu_set(void) { create(CLOCK_PROCESS_CPUTIME_ID); }
static void posix_check(void) {
	CHECK(timer_gettime(timer, &left) == 0);
	CHECK(left.it_value.tv_sec > 590 && left.it_value.tv_sec <= 600 && left.it_interval.tv_sec == 300);
}
static void itimer(int which) { struct itimerval t = {{300, 0}, {600, 0}}; CHECK(setitimer(which, &t, NULL) == 0); }
static void itimer_set(void) { itimer(ITIMER_REAL), itimer(ITIMER_VIRTUAL), itimer(ITIMER_PROF); }
static void itimer_check(void) {
	struct itimerval t;
	for (int i = 0; i < 3; i++) CHECK(getitimer(i, &t) == 0 && t.it_value.tv_sec > 590 && t.it_value.tv_sec <= 600 && t.it_interval.tv_sec == 300);
}
static void timerfd_set(void) {
	struct itimerspec t = {{300, 0}, {600, 0}};
	CHECK((fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)) >= 0 && timerfd_settime(fd, 0, &t, NULL) == 0);
}
static void timerfd_check(void) { CHECK(timerfd_gettime(fd, &left) == 0 && left.it_value.tv_sec > 590 && left.it_value.tv_sec <= 600); }
static void due_set(void) {
	struct itimerspec t = {{0, 1000000}, {0, 1000000}};
	struct pollfd p;
	CHECK((fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)) >= 0 && timerfd_settime(fd, 0, &t, NULL) == 0);
	p = (struct pollfd){fd, POLLIN, 0}, poll(&p, 1, -1), begin();
}
static void due_check(void) { // it has fired as often as monotonic time says, not as wall time does
	uint64_t n;
	CHECK(read(fd, &n, 8) == 8);
	CHECK(n <= 1000 * since(CLOCK_MONOTONIC, &mono) + 5);
}
static void *sleeper(void *arg) {
	struct timespec t = {0, 400000000};
	struct pollfd p = {ends[0], POLLIN, 0};
	int r = arg ? poll(&p, 1, 400) : nanosleep(&t, NULL);
	done = r == 0 ? 1 : errno == EINTR ? 2 : 3;
	return NULL;
}
static void asleep(void *how) {
	pthread_t t;
	CHECK(pipe(ends) == 0);
	begin(), pthread_create(&t, NULL, sleeper, how);
}
static void nanosleep_set(void) { asleep(NULL); }
static void poll_set(void) { asleep(&ends); }
static void asleep_check(void) { // interrupted, as by a signal
	while (!done) sched_yield();
	CHECK(done == 2 || (done == 1 && since(CLOCK_MONOTONIC, &mono) >= 0.4));
}
static void still_check(void) { // the test lets at least half a second pass
	double m = since(CLOCK_MONOTONIC, &mono), w = since(CLOCK_REALTIME, &wall);
	CHECK(m >= 0 && w >= 0.5); CHECK(m <= w - 0.4);
}
static void deadline_set(void) {
	struct itimerspec t = {{0, 0}, {0, 0}};
	begin(), t.it_value = wall, t.it_value.tv_sec += 1;
	CHECK((fd = timerfd_create(CLOCK_REALTIME, 0)) >= 0 && timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL) == 0);
}
static void deadline_check(void) { uint64_t n; CHECK(read(fd, &n, 8) == 8 && n == 1); }

const struct object times[] = {
	{"timer-create", posix_set, posix_check}, {"timer-create-wall", posix_wall_set, posix_check}, {"timer-create-cpu", posix_cpu_set, posix_check},
	{"setitimer", itimer_set, itimer_check}, {"timerfd", timerfd_set, timerfd_check}, {"timerfd-ticking", due_set, due_check},
	{"nanosleep", nanosleep_set, asleep_check}, {"poll-timeout", poll_set, asleep_check}, {"monotonic-clock", begin, still_check},
	{"timerfd-wall-deadline", deadline_set, deadline_check}, {0},
};
