#include "objects.h"
#include <linux/perf_event.h>
#include <mqueue.h>
#include <linux/futex.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>

static volatile int *word;
static struct kid other;
static char *area, *second;
static const char *before;
static int fd, id;

static int futex(int op, int value) {
	struct timespec t = {5, 0};
	return syscall(SYS_futex, word, op, value, &t, NULL, 0);
}
static int add(int c) { return ++*word, c + 1; }
static void *map(size_t n, int how, int from) { return mmap(NULL, n, PROT_READ | PROT_WRITE, how, from, 0); }
static void shared(int how, int from) {
	word = map(4096, how, from);
	CHECK(word != MAP_FAILED);
	*word = 41;
	other = kid(NULL, add);
}
static void shared_use(void) { CHECK(ask(&other, 'a') == 'b'); CHECK(*word == 42); *word = 41; }
static void shared_check(void) { CHECK(ask(&other, 'a') == 'b'); CHECK(*word == 42); }

static void anon_set(void) { shared(MAP_SHARED | MAP_ANONYMOUS, -1); }
static void memfd_set(void) {
	CHECK((fd = memfd_create("m", MFD_CLOEXEC | MFD_ALLOW_SEALING)) >= 0 && ftruncate(fd, 4096) == 0);
	CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	shared(MAP_SHARED, fd);
}
static void memfd_check(void) { shared_check(); CHECK(fcntl(fd, F_GET_SEALS) == F_SEAL_SHRINK); }
static void shm_set(void) {
	char name[32];
	snprintf(name, sizeof name, "/dm-%d-%ld", getpid(), (long)time(NULL) ^ (long)&name);
	CHECK((fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600)) >= 0 && ftruncate(fd, 4096) == 0 && shm_unlink(name) == 0);
	shared(MAP_SHARED, fd);
}
// Memory of more than 64 MiB: the limit for deleted files is not for all that has no name.
enum { LARGE = 66 << 20 };
static void fill(int from) {
	area = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, from < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, from, 0);
	CHECK(area != MAP_FAILED);
	for (size_t i = 0; i < LARGE; i += 4096) area[i] = 1 + i / 4096 % 100;
}
static void filled_check(void) { for (size_t i = 0; i < LARGE; i += 4096) CHECK(area[i] == (char)(1 + i / 4096 % 100)); }
static void memfd_large_set(void) { CHECK((fd = memfd_create("large", MFD_CLOEXEC)) >= 0 && ftruncate(fd, LARGE) == 0); fill(fd); }
static void memfd_read_check(void) { filled_check(); char c; CHECK(pread(fd, &c, 1, 4096) == 1 && c == 2); }
static void memfd_unmapped_set(void) { memfd_large_set(); CHECK(munmap(area, LARGE) == 0); }
static void memfd_unmapped_check(void) { char c; CHECK(pread(fd, &c, 1, 4096) == 1 && c == 2); }
static void memfd_mapped_set(void) { memfd_large_set(); close(fd); }
static void zero_large_set(void) { fill(-1); }
static void dev_zero_set(void) { CHECK((fd = open("/dev/zero", O_RDWR)) >= 0); fill(fd); close(fd); }
static void shm_large_set(void) {
	char name[32];
	snprintf(name, sizeof name, "/dm-%d-%ld", getpid(), (long)time(NULL) ^ (long)&name);
	CHECK((fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600)) >= 0 && ftruncate(fd, LARGE) == 0 && shm_unlink(name) == 0);
	fill(fd);
}
static void shm_mapped_set(void) { shm_large_set(); close(fd); }
static void deleted_mapped_set(void) {
	CHECK((fd = open("large", O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fd, LARGE) == 0 && unlink("large") == 0);
	fill(fd);
	close(fd);
}
static void file_set(void) {
	CHECK((fd = open("shared", O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fd, 4096) == 0);
	shared(MAP_SHARED, fd);
}
static void *rewrite(void *unused) {
	for (int n = 1;; n++, usleep(2000))
		if (pwrite(fd, &n, sizeof n, 0) != sizeof n) return unused;
}
static void rewritten_set(void) {
	pthread_t writer;
	CHECK((fd = open("rewritten", O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fd, 4096) == 0);
	word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(word != MAP_FAILED && pthread_create(&writer, NULL, rewrite, NULL) == 0);
}
static void rewritten_check(void) {
	int was = *word;
	for (int n = 0; n < 1000 && *word == was; n++) usleep(2000);
	CHECK(*word != was);
}
/* What Go does on a small machine: to reserve more addresses than there is memory. */
static void overcommitted_set(void) {
	size_t size = 2ul * sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
	CHECK(mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	CHECK(mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED);
}
static void overcommitted_check(void) {}
static void sysv_set(void) {
	CHECK((id = shmget(IPC_PRIVATE, 4096, 0600)) >= 0);
	word = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	CHECK(word != (void *)-1);
	*word = 41;
	other = kid(NULL, add);
}
static void sem_set(void) { CHECK((id = semget(IPC_PRIVATE, 1, 0600)) >= 0 && semctl(id, 0, SETVAL, 3) == 0); }
static void sem_check(void) { CHECK(semctl(id, 0, GETVAL) == 3); CHECK(semctl(id, 0, IPC_RMID) == 0); }
// change changes a semaphore by amount, to be undone at the end of the process.
static void change(int number, int amount) {
	struct sembuf b = {number, amount, SEM_UNDO};
	CHECK(semop(id, &b, 1) == 0);
}
static void sems_set(void) {
	CHECK((id = semget(IPC_PRIVATE, 200, 0600)) >= 0 && semctl(id, 0, SETVAL, 1) == 0 && semctl(id, 150, SETVAL, 5) == 0);
}
static void released_set(void) { sems_set(); change(0, -1); change(0, 1); change(150, 3), change(150, -3); }
static void released_check(void) {
	CHECK(semctl(id, 0, GETVAL) == 1 && semctl(id, 150, GETVAL) == 5 && semctl(id, 151, GETVAL) == 0);
	change(0, -1);
	CHECK(semctl(id, 0, GETVAL) == 0 && semctl(id, 0, IPC_RMID) == 0);
}
static void held_set(void) { sems_set(); change(150, -1); }
static void held_check(void) { CHECK(semctl(id, 150, GETVAL) == 4 && semctl(id, 0, GETVAL) == 1); change(150, 1); CHECK(semctl(id, 0, IPC_RMID) == 0); }
static void raised_set(void) { sems_set(); change(150, 2); }
static void raised_check(void) { CHECK(semctl(id, 150, GETVAL) == 7 && semctl(id, 0, GETVAL) == 1); change(150, -2); CHECK(semctl(id, 0, IPC_RMID) == 0); }
static int taken[2];
static void *taker(void *arg) {
	char c;
	(void)arg;
	CHECK(unshare(CLONE_SYSVSEM) == 0); // what it holds is its own
	change(0, -1);
	CHECK(write(taken[1], "t", 1) == 1);
	while (read(taken[0], &c, 0) == 0) pause();
	return NULL;
}
static void thread_sem_set(void) {
	pthread_t t;
	char c;
	sems_set();
	CHECK(pipe(taken) == 0 && pthread_create(&t, NULL, taker, NULL) == 0 && read(taken[0], &c, 1) == 1);
}
static void thread_sem_check(void) { CHECK(semctl(id, 0, GETVAL) == 0); CHECK(semctl(id, 0, IPC_RMID) == 0); }
static void msg_set(void) {
	struct { long type; char text[8]; } m = {1, "queued"};
	CHECK((id = msgget(IPC_PRIVATE, 0600)) >= 0 && msgsnd(id, &m, 8, 0) == 0);
}
static void msg_check(void) {
	struct { long type; char text[8]; } m;
	CHECK(msgrcv(id, &m, 8, 1, IPC_NOWAIT) == 8 && !strcmp(m.text, "queued")); CHECK(msgctl(id, IPC_RMID, NULL) == 0);
}

static void *waiter(void *unused) {
	(void)unused;
	while (*word == 0)
		if (futex(FUTEX_WAIT, 0) < 0 && errno != EINTR && errno != EAGAIN) break;
	__atomic_store_n(word, 2, __ATOMIC_SEQ_CST), futex(FUTEX_WAKE, 1);
	return NULL;
}
static void wait_begin(void) { pthread_t t; pthread_create(&t, NULL, waiter, NULL); }
static void futex_set(void) {
	word = map(4096, MAP_SHARED | MAP_ANONYMOUS, -1);
	other = kid(wait_begin, plus);
}
static void futex_check(void) {
	*word = 1, futex(FUTEX_WAKE, 1);
	while (*word == 1) CHECK(futex(FUTEX_WAIT, 1) == 0 || errno != ETIMEDOUT);
	CHECK(*word == 2);
}

static pthread_mutex_t *mutex;
static void hold(void) { pthread_mutex_lock(mutex); }
static void robust_in(int how, int from, void (*begin)(void)) {
	pthread_mutexattr_t a;
	mutex = map(4096, how, from);
	pthread_mutexattr_init(&a), pthread_mutexattr_setpshared(&a, 1), pthread_mutexattr_setrobust(&a, 1);
	pthread_mutex_init(mutex, &a);
	other = kid(begin, plus);
}
static void robust_set(void) { robust_in(MAP_SHARED | MAP_ANONYMOUS, -1, hold); }
static void robust_in_file(void (*begin)(void)) {
	CHECK((fd = open("mutex", O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fd, 4096) == 0);
	robust_in(MAP_SHARED, fd, begin);
}
static void robust_file_set(void) { robust_in_file(hold); }
static void release(void) { hold(), pthread_mutex_unlock(mutex); }
static void robust_free_set(void) { robust_in_file(release); }
static void robust_free_check(void) { CHECK(pthread_mutex_trylock(mutex) == 0 && pthread_mutex_unlock(mutex) == 0); }
static void robust_check(void) {
	CHECK(pthread_mutex_trylock(mutex) == EBUSY);
	kill(other.pid, SIGKILL), waitpid(other.pid, NULL, 0);
	CHECK(pthread_mutex_trylock(mutex) == EOWNERDEAD);
}

static void private_set(void) {
	CHECK((fd = open("private", O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fd, 8192) == 0 && pwrite(fd, "file", 4, 4096) == 4);
	area = map(8192, MAP_PRIVATE, fd);
	strcpy(area, "mine");
}
static void private_check(void) { CHECK(!strcmp(area, "mine") && !memcmp(area + 4096, "file", 4)); CHECK(pread(fd, area, 1, 0) == 1 && !*area); }

static void advise(int what, const char *want) {
	area = map(4096, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	strcpy(area, "kept");
	if (madvise(area, 4096, what)) absent("madvise");
	before = strdup(flags(area));
	CHECK(strstr(before, want));
}
static void advise_check(void) { CHECK(!strcmp(area, "kept")); CHECK(!strcmp(flags(area), before)); }
static void dontdump_set(void) { advise(MADV_DONTDUMP, " dd"); }
static void dontfork_set(void) { advise(MADV_DONTFORK, " dc"); }
static void wipe_set(void) { advise(MADV_WIPEONFORK, " wf"); }
static void merge_set(void) { advise(MADV_MERGEABLE, " mg"); }
static void thp_set(void) { advise(MADV_HUGEPAGE, " hg"); }
static void mlock_set(void) {
	area = map(4096, MAP_PRIVATE | MAP_ANONYMOUS, -1), strcpy(area, "kept");
	CHECK(mlock(area, 4096) == 0);
	before = strdup(flags(area));
	CHECK(strstr(before, " lo"));
}
static void future_set(void) { CHECK(mlockall(MCL_FUTURE) == 0); }
static void future_check(void) { area = map(4096, MAP_PRIVATE | MAP_ANONYMOUS, -1); CHECK(strstr(flags(area), " lo")); }
static void guard_set(void) {
	area = map(3 * 4096, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	strcpy(area + 4096, "behind");
	CHECK(mprotect(area + 4096, 4096, PROT_NONE) == 0);
	before = strdup(flags(area + 4096));
}
static void guard_check(void) {
	CHECK(!strcmp(before, flags(area + 4096)));
	CHECK(mprotect(area + 4096, 4096, PROT_READ) == 0 && !strcmp(area + 4096, "behind"));
}
static void guardpages_set(void) {
	area = map(3 * 4096, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (madvise(area + 4096, 4096, 102 /* MADV_GUARD_INSTALL */)) absent("guard pages");
}
static int readable(char *p) { int n[2]; CHECK(pipe(n) == 0); int got = write(n[1], p, 1); close(n[0]), close(n[1]); return got == 1; }
static void guardpages_check(void) { CHECK(!readable(area + 4096)); }
static void many_set(void) {
	area = map(16000L * 4096, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (long i = 0; i < 16000; i += 2) { area[i * 4096] = i % 251; CHECK(mprotect(area + i * 4096, 4096, PROT_READ) == 0); }
}
static void many_check(void) { for (long i = 0; i < 16000; i += 2) CHECK(area[i * 4096] == (char)(i % 251)); }
static void seal_set(void) {
	area = map(4096, MAP_PRIVATE | MAP_ANONYMOUS, -1), strcpy(area, "kept");
	if (syscall(462, area, 4096, 0)) absent("mseal");
}
static void seal_check(void) { CHECK(!strcmp(area, "kept")); CHECK(mprotect(area, 4096, PROT_READ) == -1); }
static void exec_set(void) {
	area = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(area, "\xb8\x2a\0\0\0\xc3", 6); // mov $42, %eax; ret
	CHECK(mprotect(area, 4096, PROT_READ | PROT_EXEC) == 0);
}
static void exec_check(void) { CHECK(((int (*)(void))area)() == 42); }
static void down_set(void) {
	area = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0);
	strcpy(area, "kept"), before = strdup(flags(area)), second = area;
}
static void brk_set(void) { area = sbrk(1 << 20); memset(area, 7, 1 << 20); second = sbrk(0); }
static void brk_check(void) { CHECK(sbrk(0) == second && area[12345] == 7); }
static void fork_set(void) { area = map(1 << 20, MAP_PRIVATE | MAP_ANONYMOUS, -1), memset(area, 5, 1 << 20); other = kid(NULL, plus); }
static void fork_check(void) { CHECK(area[4096] == 5 && ask(&other, 'a') == 'b'); }

static void *ring;
static void counter_set(void) {
	struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE, .size = sizeof a, .config = PERF_COUNT_SW_PAGE_FAULTS};
	if ((fd = syscall(SYS_perf_event_open, &a, 0, -1, -1, 0)) < 0) absent("performance counters");
}
static void counter_check(void) { long n; CHECK(read(fd, &n, sizeof n) == sizeof n); }
static void mapped_counter_set(void) { counter_set(); CHECK((ring = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0)) != MAP_FAILED && close(fd) == 0); }
static void mapped_counter_check(void) { CHECK(((struct perf_event_mmap_page *)ring)->data_head == 0); }
static mqd_t queue;
static void mqueue_set(void) { struct mq_attr a = {.mq_maxmsg = 4, .mq_msgsize = 8}; char n[40]; snprintf(n, sizeof n, "/dormouse-%ld", (long)time(NULL) * 1000 + getpid()); if ((queue = mq_open(n, O_RDWR | O_CREAT | O_EXCL, 0600, &a)) < 0) absent("POSIX message queues"); CHECK(mq_unlink(n) == 0 && mq_send(queue, "hello", 5, 1) == 0); }
static void mqueue_check(void) { char b[8]; CHECK(mq_receive(queue, b, sizeof b, NULL) == 5); }
static unsigned long context;
static void aio_set(void) { if (syscall(SYS_io_setup, 8, &context)) absent("asynchronous I/O"); }
static void aio_check(void) { struct timespec now = {0, 0}; char e[32]; CHECK(syscall(SYS_io_getevents, context, 0, 1, e, &now) == 0); }
static long key;
static void key_set(void) { if (syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL) < 0) absent("keyrings"); CHECK((key = syscall(SYS_add_key, "user", "dormouse", "x", 1, -3 /* KEY_SPEC_SESSION_KEYRING */)) > 0); }
static void key_check(void) { CHECK(syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, -3, "user", "dormouse", 0) == key); }

const struct object memory[] = {
	{"counter", counter_set, counter_check, counter_check}, {"mapped-counter", mapped_counter_set, mapped_counter_check}, {"posix-mqueue", mqueue_set, mqueue_check}, {"aio", aio_set, aio_check, aio_check}, {"session-keyring", key_set, key_check, key_check},
	{"anon-shared", anon_set, shared_check, shared_use}, {"memfd", memfd_set, memfd_check, shared_use}, {"shm", shm_set, shared_check, shared_use},
	{"file-shared", file_set, shared_check, shared_use}, {"file-rewritten", rewritten_set, rewritten_check}, {"sysv-shm", sysv_set, shared_check}, {"sysv-sem", sem_set, sem_check},
	{"memfd-large", memfd_large_set, memfd_read_check, filled_check}, {"memfd-unmapped", memfd_unmapped_set, memfd_unmapped_check}, {"memfd-mapped", memfd_mapped_set, filled_check},
	{"anon-shared-large", zero_large_set, filled_check}, {"dev-zero-shared", dev_zero_set, filled_check}, {"shm-large", shm_large_set, filled_check},
	{"shm-large-mapped", shm_mapped_set, filled_check}, {"deleted-large-mapped", deleted_mapped_set, filled_check},
	{"sysv-sem-released", released_set, released_check}, {"sysv-sem-held", held_set, held_check}, {"sysv-sem-raised", raised_set, raised_check}, {"sysv-sem-thread", thread_sem_set, thread_sem_check},
	{"overcommitted", overcommitted_set, overcommitted_check},
	{"sysv-msg", msg_set, msg_check}, {"futex", futex_set, futex_check}, {"robust-mutex", robust_set, robust_check},
	{"robust-mutex-file", robust_file_set, robust_check}, {"robust-mutex-free", robust_free_set, robust_free_check, robust_free_check}, {"private-file", private_set, private_check},
	{"dontdump", dontdump_set, advise_check, advise_check}, {"dontfork", dontfork_set, advise_check, advise_check}, {"wipeonfork", wipe_set, advise_check, advise_check},
	{"mergeable", merge_set, advise_check, advise_check}, {"transparent-huge", thp_set, advise_check, advise_check}, {"mlock", mlock_set, advise_check, advise_check},
	{"mlockall-future", future_set, future_check}, {"prot-none", guard_set, guard_check}, {"guard-pages", guardpages_set, guardpages_check, guardpages_check},
	 {"many-mappings", many_set, many_check, many_check},
	{"mseal", seal_set, seal_check}, {"generated-code", exec_set, exec_check, exec_check}, {"growsdown", down_set, advise_check, advise_check},
	{"brk", brk_set, brk_check, brk_check}, {"copy-on-write", fork_set, fork_check, fork_check}, {0},
};
