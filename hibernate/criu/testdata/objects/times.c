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
// begin notes the time. Whatever begins after it began later than wall and mono say.
static void begin(void) { clock_gettime(CLOCK_REALTIME, &wall), clock_gettime(CLOCK_MONOTONIC, &mono); }
// seconds returns the seconds of t.
static double seconds(struct timespec t) { return t.tv_sec + t.tv_nsec / 1e9; }
// due_between checks that the timer fires between two times of its clock. It looks at the
// clock before and after the timer: a slow machine may let time pass between the looks.
static void due_between(int clock, double from, double to) {
	struct timespec before, after;
	clock_gettime(clock, &before);
	CHECK(timerfd_gettime(fd, &left) == 0);
	clock_gettime(clock, &after);
	CHECK(seconds(after) + seconds(left.it_value) > from && seconds(before) + seconds(left.it_value) < to);
}

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
static int timer_of(int clock, int flags, struct itimerspec t) {
	int f = timerfd_create(clock, 0);
	CHECK(f >= 0 && timerfd_settime(f, flags, &t, NULL) == 0);
	return f;
}
static void wait_readable(int f) {
	struct pollfd p = {f, POLLIN, 0};
	CHECK(poll(&p, 1, 3000) == 1);
}
// frames_tick reads ticks, and checks that they come as often as they should.
static void frames_tick(double interval) {
	uint64_t n, ticks = 0;
	struct timespec from, last = {0};
	wait_readable(fd);
	CHECK(read(fd, &n, 8) == 8); // none is left of before
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < 4; i++) {
		wait_readable(fd);
		clock_gettime(CLOCK_MONOTONIC, &last);
		CHECK(read(fd, &n, 8) == 8);
		ticks += n;
	}
	double least = seconds(last) - seconds(from), most = since(CLOCK_MONOTONIC, &from);
	CHECK(ticks <= most / interval + 1 && ticks >= least / interval - 1);
}
#define FRAME 0.016666667
static void unread_set(void) { // ticks like the frames of a screen, of which 36 and more are not read yet
	begin(), fd = timer_of(CLOCK_MONOTONIC, 0, (struct itimerspec){{0, 16666667}, {0, 16666667}});
	while (since(CLOCK_MONOTONIC, &mono) < 36 * FRAME) usleep(10000);
}
static void unread_check(void) { // it has lost none, and does not count the 30 and more of the sleep
	uint64_t n;
	double least = since(CLOCK_MONOTONIC, &mono) / FRAME - 25; // CRIU looks at clock and timer one after the other
	CHECK(read(fd, &n, 8) == 8);
	CHECK(n >= least && n <= since(CLOCK_MONOTONIC, &mono) / FRAME + 25);
	frames_tick(FRAME);
}
static void slow_set(void) {
	begin(), fd = timer_of(CLOCK_MONOTONIC, 0, (struct itimerspec){{0, 100000000}, {0, 100000000}});
}
static void slow_check(void) {
	uint64_t n;
	CHECK(read(fd, &n, 8) == 8);
	CHECK(n <= since(CLOCK_MONOTONIC, &mono) / 0.1 + 0.01);
	frames_tick(0.1);
}
static void first_set(void) { fd = timer_of(CLOCK_MONOTONIC, 0, (struct itimerspec){{1, 0}, {600, 0}}); }
static void first_check(void) {
	CHECK(timerfd_gettime(fd, &left) == 0 && left.it_value.tv_sec > 590 && left.it_value.tv_sec < 600 && left.it_interval.tv_sec == 1);
}
static void absolute_set(void) { // neither a second early nor late
	begin();
	struct itimerspec t = {{0, 0}, mono};
	t.it_value.tv_nsec += 700000000;
	if (t.it_value.tv_nsec >= 1000000000) t.it_value.tv_sec++, t.it_value.tv_nsec -= 1000000000;
	fd = timer_of(CLOCK_MONOTONIC, TFD_TIMER_ABSTIME, t);
}
static void absolute_check(void) {
	uint64_t n;
	CHECK(read(fd, &n, 8) == 8 && n == 1);
	CHECK(since(CLOCK_MONOTONIC, &mono) >= 0.65);
}
static void absolute_far_set(void) { fd = timer_of(CLOCK_MONOTONIC, TFD_TIMER_ABSTIME, (struct itimerspec){{0, 0}, {1000000, 500000000}}); }
static void absolute_far_check(void) {
	due_between(CLOCK_MONOTONIC, 1000000.49, 1000000.95);
}
static void wall_ticks_set(void) { // goes on while the program sleeps
	begin();
	fd = timer_of(CLOCK_REALTIME, TFD_TIMER_ABSTIME, (struct itimerspec){{0, 50000000}, wall});
}
static void wall_ticks_check(void) {
	uint64_t n;
	double least = since(CLOCK_REALTIME, &wall) / 0.05 - 3.1;
	CHECK(read(fd, &n, 8) == 8);
	CHECK(n >= least && n <= since(CLOCK_REALTIME, &wall) / 0.05 + 4.1);
	frames_tick(0.05);
}
static void cancel_set(void) {
	fd = timer_of(CLOCK_REALTIME, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, (struct itimerspec){{0, 0}, {4102444800, 250000000}});
}
static void cancel_check(void) {
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	CHECK(strstr(line(path, "settime flags:"), "03"));
	due_between(CLOCK_REALTIME, 4102444800.24, 4102444800.40);
}
static void boot_set(void) { fd = timer_of(CLOCK_BOOTTIME, 0, (struct itimerspec){{0, 0}, {600, 0}}); }
static void boot_check(void) { CHECK(timerfd_gettime(fd, &left) == 0 && left.it_value.tv_sec > 590); }
static void alarm_set(void) {
	if ((fd = timerfd_create(CLOCK_REALTIME_ALARM, 0)) < 0) absent("an alarm clock");
	CHECK(timerfd_settime(fd, 0, &(struct itimerspec){{0, 0}, {600, 0}}, NULL) == 0);
}
static void due_set(void) {
	struct itimerspec t = {{0, 1000000}, {0, 1000000}};
	struct pollfd p;
	begin();
	CHECK((fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)) >= 0 && timerfd_settime(fd, 0, &t, NULL) == 0);
	p = (struct pollfd){fd, POLLIN, 0}, poll(&p, 1, -1);
}
static void due_check(void) { // it has fired as often as monotonic time says, not as wall time does
	uint64_t n;
	CHECK(read(fd, &n, 8) == 8);
	CHECK(n <= 1000 * since(CLOCK_MONOTONIC, &mono) + 50); // ticks; CRIU looks at clock and timer one after the other
	frames_tick(0.001);
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
static void deadline_check(void) {
	uint64_t n;
	double before = since(CLOCK_REALTIME, &wall);
	CHECK(read(fd, &n, 8) == 8 && n == 1);
	double after = since(CLOCK_REALTIME, &wall);
	CHECK(after >= 1 && (after < 1.4 || after < before + 0.4)); // one that does not count the sleep is half a second late
}

const struct object times[] = {
	{"timer-create", posix_set, posix_check, posix_check}, {"timer-create-wall", posix_wall_set, posix_check, posix_check}, {"timer-create-cpu", posix_cpu_set, posix_check, posix_check},
	{"setitimer", itimer_set, itimer_check, itimer_check}, {"timerfd", timerfd_set, timerfd_check, timerfd_check}, {"timerfd-ticking", due_set, due_check},
	{"nanosleep", nanosleep_set, asleep_check}, {"poll-timeout", poll_set, asleep_check}, {"monotonic-clock", begin, still_check},
	{"timerfd-wall-deadline", deadline_set, deadline_check}, {"timerfd-unread", unread_set, unread_check}, {"timerfd-slow", slow_set, slow_check},
	{"timerfd-first", first_set, first_check}, {"timerfd-absolute", absolute_set, absolute_check}, {"timerfd-absolute-far", absolute_far_set, absolute_far_check},
	{"timerfd-wall-ticks", wall_ticks_set, wall_ticks_check}, {"timerfd-cancel", cancel_set, cancel_check}, {"timerfd-boottime", boot_set, boot_check},
	{"timerfd-alarm", alarm_set, boot_check}, {0},
};
