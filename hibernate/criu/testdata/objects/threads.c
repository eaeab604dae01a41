// What a single thread, or the process by prctl, may be or have.
#include "objects.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>

// A worker is a thread that sets something up, and then answers in turns.
static void (*begin)(void);
static int (*holds)(void);
static volatile int turn, answer; // turn 1: the thread is to answer; -1: it is set up
static void *work(void *unused) {
	begin(), turn = -1;
	for (;;) {
		while (turn != 1) usleep(1000);
		answer = holds(), turn = 0;
	}
	return unused;
}
static void worker(void (*b)(void), int (*h)(void)) {
	pthread_t t;
	begin = b, holds = h;
	CHECK(!pthread_create(&t, NULL, work, NULL));
	while (turn != -1) usleep(1000);
	turn = 0;
}
static void worker_use(void) {
	turn = 1;
	while (turn) usleep(1000);
	CHECK(answer);
}
static void nothing(void) {}

static char text[4096], kept[256];
static const char *status(const char *key) { return line("/proc/thread-self/status", key); }
static char ns[3][64];
static const char *space;
static int same_space(void) { snprintf(text, 99, "/proc/thread-self/ns/%s", space); int n = readlink(text, ns[1], 63); ns[1][n < 0 ? 0 : n] = 0; return !strcmp(ns[0], ns[1]); }
static void enter(int flag) { if (unshare(flag)) absent("unshare"); same_space(), strcpy(ns[0], ns[1]); }
static void net(void) { space = "net", enter(CLONE_NEWNET); }
static void uts(void) { space = "uts", enter(CLONE_NEWUTS); }
static void ipc(void) { space = "ipc", enter(CLONE_NEWIPC); }
static void cgroup(void) { space = "cgroup", enter(CLONE_NEWCGROUP); }
static void mnt(void) { space = "mnt", enter(CLONE_NEWNS); }
static void net_set(void) { worker(net, same_space); }
static void uts_set(void) { worker(uts, same_space); }
static void ipc_set(void) { worker(ipc, same_space); }
static void cgroup_set(void) { worker(cgroup, same_space); }
static void mnt_set(void) { worker(mnt, same_space); }

static void cwd(void) { CHECK(unshare(CLONE_FS) == 0 && mkdir("own", 0700) == 0 && chdir("own") == 0); }
static int in_own(void) { return getcwd(text, sizeof text) && !strcmp(text + strlen(text) - 4, "/own"); }
static void cwd_set(void) { worker(cwd, in_own); }
static void same_cwd(void) { CHECK(unshare(CLONE_FS) == 0); }
static int own_umask(void) { mode_t m = umask(0123); (void)m; return 1; }
static void same_cwd_set(void) { worker(same_cwd, own_umask); }
static void same_cwd_use(void) { CHECK(umask(022) != 0123); worker_use(); CHECK(umask(022) == 022); }
static int own_fd;
static void table(void) { CHECK(unshare(CLONE_FILES) == 0 && (own_fd = open("/dev/zero", O_RDONLY)) >= 0); }
static int own_table(void) { return read(own_fd, text, 1) == 1; }
static void table_set(void) { worker(table, own_table); }
static void table_use(void) { worker_use(); CHECK(read(own_fd, text, 1) == -1 && errno == EBADF); }

static void uid(void) { if (syscall(SYS_setresuid, 65534, 65534, 65534)) absent("setresuid"); }
static int has_uid(void) { return syscall(SYS_getuid) == 65534; }
static void uid_set(void) { worker(uid, has_uid); }
static void uid_use(void) { worker_use(); CHECK(getuid() == 0); }
static void filter_for(int nr, int error) {
	struct sock_filter f[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET, SECCOMP_RET_ERRNO | error), BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW)};
	struct sock_fprog p = {4, f};
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p)) absent("seccomp");
}
static void filter(void) { filter_for(SYS_uname, 71); }
static int filtered(void) { return syscall(SYS_uname, text) == -1 && errno == 71; }
static void filter_set(void) { worker(filter, filtered); }
static void filter_use(void) { worker_use(); CHECK(syscall(SYS_uname, text) == 0); }
static void strict(void) { if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)) absent("strict seccomp"); turn = -1; for (;;) { while (turn != 1) ; answer = 1, turn = 0; } }
static void strict_set(void) { worker(strict, NULL); }
static void strict_use(void) { worker_use(); }
static void nnp(void) { CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0); }
static int has_nnp(void) { return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1; }
static void nnp_set(void) { worker(nnp, has_nnp); }
static void caps(void) { struct { unsigned version; int pid; } h = {0x20080522, 0}; unsigned d[6] = {1, 1, 0, 0, 0, 0}; CHECK(syscall(SYS_capset, &h, d) == 0); }
static int has_caps(void) { return !strncmp(status("CapEff:"), "CapEff:\t0000000000000001", 24); }
static void caps_set(void) { worker(caps, has_caps); }
static void persona(void) { CHECK(syscall(SYS_personality, 0x0040000) >= 0); }
static int has_persona(void) { return syscall(SYS_personality, 0xffffffff) == 0x0040000; }
static void persona_set(void) { worker(persona, has_persona); }
static void name(void) { CHECK(prctl(PR_SET_NAME, "a worker") == 0); }
static int has_name(void) { return prctl(PR_GET_NAME, kept) == 0 && !strcmp(kept, "a worker"); }
static void name_set(void) { worker(name, has_name); }
static void death(void) { CHECK(prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0); }
static int has_death(void) { int s; return prctl(PR_GET_PDEATHSIG, &s) == 0 && s == SIGUSR2; }
static void death_set(void) { worker(death, has_death); }
static volatile int got;
static void handler(int n) { stack_t s; (void)n; sigaltstack(NULL, &s), got = s.ss_flags & SS_ONSTACK ? 2 : 1; }
static void signal_of_thread(void) {
	struct sigaction a = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
	stack_t s = {.ss_sp = malloc(65536), .ss_size = 65536};
	sigset_t m;
	CHECK(sigaltstack(&s, NULL) == 0 && sigaction(SIGUSR1, &a, NULL) == 0);
	sigemptyset(&m), sigaddset(&m, SIGUSR1), pthread_sigmask(SIG_BLOCK, &m, NULL);
	pthread_kill(pthread_self(), SIGUSR1);
}
static int signalled(void) { sigset_t m; sigemptyset(&m), sigaddset(&m, SIGUSR1); pthread_sigmask(SIG_UNBLOCK, &m, NULL); return got == 2; }
static void signal_set(void) { worker(signal_of_thread, signalled); }

struct deadline { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; uint32_t min, max; };
static void deadline_set(void) { struct deadline d = {.size = 48, .policy = 6, .runtime = 1000000, .deadline = 100000000, .period = 100000000}; if (syscall(SYS_sched_setattr, 0, &d, 0)) absent("SCHED_DEADLINE"); }
static void deadline_use(void) { struct deadline d = {0}; CHECK(syscall(SYS_sched_getattr, 0, &d, sizeof d, 0) == 0 && d.policy == 6 && d.runtime == 1000000); }
static void policy(int p, int priority) { struct sched_param s = {priority}; if (sched_setscheduler(0, p, &s)) absent("sched_setscheduler"); }
static void rr_set(void) { policy(SCHED_RR, 2); }
static void rr_use(void) { struct sched_param s; CHECK(sched_getscheduler(0) == SCHED_RR && !sched_getparam(0, &s) && s.sched_priority == 2); }
static void idle_set(void) { policy(SCHED_IDLE, 0); }
static void idle_use(void) { CHECK(sched_getscheduler(0) == SCHED_IDLE); }
static void reset_set(void) { policy(SCHED_BATCH | 0x40000000, 0); }
static void reset_use(void) { CHECK(sched_getscheduler(0) == (SCHED_BATCH | 0x40000000)); }
static void slice_set(void) { struct deadline d = {.size = 48, .policy = 0, .runtime = 5000000}; if (syscall(SYS_sched_setattr, 0, &d, 0)) absent("sched_setattr"); memset(&d, 0, sizeof d); if (syscall(SYS_sched_getattr, 0, &d, sizeof d, 0) || d.runtime != 5000000) absent("time slices"); }
static void slice_use(void) { struct deadline d = {0}; CHECK(syscall(SYS_sched_getattr, 0, &d, sizeof d, 0) == 0 && d.runtime == 5000000); }

static void tsc_set(void) { if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV)) absent("PR_SET_TSC"); }
static void tsc_use(void) { int v = 0; CHECK(prctl(PR_GET_TSC, &v) == 0 && v == PR_TSC_SIGSEGV); }
static void cpuid_set(void) { if (syscall(SYS_arch_prctl, 0x1012, 0)) absent("ARCH_SET_CPUID"); }
static void cpuid_use(void) { CHECK(syscall(SYS_arch_prctl, 0x1011, 0) == 0); }
static void flusher_set(void) { if (prctl(57 /* PR_SET_IO_FLUSHER */, 1, 0, 0, 0)) absent("PR_SET_IO_FLUSHER"); }
static void flusher_use(void) { CHECK(prctl(58, 0, 0, 0, 0) == 1); }
static void mce_set(void) { if (prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0)) absent("PR_MCE_KILL"); }
static void mce_use(void) { CHECK(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) == PR_MCE_KILL_EARLY); }
static void merge_set(void) { if (prctl(67 /* PR_SET_MEMORY_MERGE */, 1, 0, 0, 0)) absent("PR_SET_MEMORY_MERGE"); }
static void merge_use(void) { CHECK(prctl(68, 0, 0, 0, 0) == 1); }
static char selector;
static void dispatch(void) { if (prctl(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1, 0, 0, &selector)) absent("PR_SET_SYSCALL_USER_DISPATCH"); }
static void dispatched(int n) { (void)n; got = 1, selector = 0; }
static int dispatches(void) { signal(SIGSYS, dispatched); got = 0, selector = 1; syscall(SYS_getppid); selector = 0; return got; }
static void dispatch_set(void) { worker(dispatch, dispatches); }
static void membarrier_set(void) { if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0)) absent("membarrier"); }
static void membarrier_use(void) { CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0); }
static void policy_memory_set(void) { unsigned long nodes = 1; if (syscall(SYS_set_mempolicy, 2 /* MPOL_BIND */, &nodes, 64)) absent("set_mempolicy"); }
static void policy_memory_use(void) { int mode = 0; CHECK(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0) == 0 && mode == 2); }
static void process_key_set(void) { if (syscall(SYS_add_key, "user", "dormouse", "x", 1, -2 /* KEY_SPEC_PROCESS_KEYRING */) < 0) absent("keyrings"); }
static void process_key_use(void) { CHECK(syscall(SYS_keyctl, 10, -2, "user", "dormouse", 0) > 0); }
static void thread_key_set(void) { if (syscall(SYS_add_key, "user", "dormouse", "x", 1, -1 /* KEY_SPEC_THREAD_KEYRING */) < 0) absent("keyrings"); }
static void thread_key_use(void) { CHECK(syscall(SYS_keyctl, 10, -1, "user", "dormouse", 0) > 0); }
static void autogroup_set(void) { int f = open("/proc/self/autogroup", O_WRONLY); if (f < 0 || write(f, "5", 1) != 1) absent("autogroup"); close(f); }
static void autogroup_use(void) { CHECK(strstr(line("/proc/self/autogroup", "/autogroup"), "nice 5")); }
static int idles(void *unused) { (void)unused; for (;;) pause(); return 0; }
static pid_t pid;
static void exit_signal_set(void) { static char stack[65536]; CHECK((pid = clone(idles, stack + 65536, SIGUSR1, NULL)) > 0); }
static void exit_signal_use(void) { siginfo_t i = {0}; signal(SIGUSR1, SIG_IGN); CHECK(waitid(P_PID, pid, &i, WEXITED | WNOHANG | WNOWAIT) == -1 && errno == ECHILD); CHECK(waitid(P_PID, pid, &i, WEXITED | WNOHANG | WNOWAIT | __WCLONE) == 0); }
static int ends[2], back[2];
static void *outlives(void *unused) { char c; while (read(ends[0], &c, 1) == 1) write(back[1], &c, 1); return unused; }
static void leader_set(void) { CHECK(pipe(ends) == 0 && pipe(back) == 0); if ((pid = fork()) == 0) { pthread_t t; pthread_create(&t, NULL, outlives, NULL); syscall(SYS_exit, 0); } usleep(20000); }
static void leader_use(void) { char c = 'x'; CHECK(write(ends[1], &c, 1) == 1 && read(back[0], &c, 1) == 1); }
static struct kid other;
static void usage_set(void) { struct rusage u; do getrusage(RUSAGE_SELF, &u); while (u.ru_utime.tv_usec + u.ru_stime.tv_usec < 100000); }
static void usage_check(void) { struct rusage u; getrusage(RUSAGE_SELF, &u); CHECK(u.ru_utime.tv_sec + u.ru_stime.tv_sec > 0 || u.ru_utime.tv_usec + u.ru_stime.tv_usec >= 100000); }
static int traces_self(int c) { return c; }
static void tracer_child(void) { other = kid(NULL, traces_self); if (ptrace(PTRACE_SEIZE, other.pid, 0, 0)) absent("ptrace"); }
static struct kid tracer;
static void tracing_set(void) { tracer = kid(tracer_child, plus); }
static void tracing_use(void) { CHECK(ask(&tracer, 'a') == 'b'); }

static const unsigned char program32[] = { // an ELF file whose code is: again: mov $29, %eax (pause); int $0x80; jmp again
	0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 1, 0, 0, 0, 0x74, 0x80, 4, 8, 52, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 52, 0, 32, 0, 2, 0, 0, 0, 0, 0, 0, 0,
	1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 4, 8, 0, 0x80, 4, 8, 128, 0, 0, 0, 128, 0, 0, 0, 5, 0, 0, 0, 0, 0x10, 0, 0,
	0x51, 0xe5, 0x74, 0x64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 16, 0, 0, 0, // the stack is not executable
	0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7, 0, 0, 0};
static void old_program_set(void) {
	int f = open("old", O_WRONLY | O_CREAT, 0700), status;
	CHECK(f >= 0 && write(f, program32, sizeof program32) == sizeof program32 && close(f) == 0);
	if ((pid = fork()) == 0) execl("./old", "old", NULL), _exit(1);
	usleep(50000);
	if (waitpid(pid, &status, WNOHANG) == pid) absent("32-bit programs");
}
static void old_program_use(void) { CHECK(kill(pid, 0) == 0 && waitpid(pid, NULL, WNOHANG) == 0); }

#define KEEPS(name, set, use) {name, set, nothing, use}
const struct object threads[] = {
	KEEPS("thread-net-namespace", net_set, worker_use), KEEPS("thread-uts-namespace", uts_set, worker_use), KEEPS("thread-ipc-namespace", ipc_set, worker_use), KEEPS("thread-cgroup-namespace", cgroup_set, worker_use), KEEPS("thread-mount-namespace", mnt_set, worker_use),
	KEEPS("thread-directory", cwd_set, worker_use), KEEPS("thread-umask", same_cwd_set, same_cwd_use), KEEPS("thread-descriptors", table_set, table_use), KEEPS("thread-user", uid_set, uid_use), KEEPS("thread-seccomp", filter_set, filter_use), KEEPS("thread-strict-seccomp", strict_set, strict_use),
	KEEPS("thread-no-new-privs", nnp_set, worker_use), KEEPS("thread-capabilities", caps_set, worker_use), KEEPS("thread-personality", persona_set, worker_use), KEEPS("thread-name", name_set, worker_use), KEEPS("thread-parent-death-signal", death_set, worker_use), {"thread-signals", signal_set, worker_use},
	KEEPS("sched-deadline", deadline_set, deadline_use), KEEPS("sched-rr", rr_set, rr_use), KEEPS("sched-idle", idle_set, idle_use), KEEPS("sched-reset-on-fork", reset_set, reset_use), KEEPS("sched-slice", slice_set, slice_use),
	KEEPS("tsc", tsc_set, tsc_use), KEEPS("cpuid", cpuid_set, cpuid_use), KEEPS("io-flusher", flusher_set, flusher_use), KEEPS("machine-check", mce_set, mce_use), KEEPS("memory-merge", merge_set, merge_use), KEEPS("syscall-dispatch", dispatch_set, worker_use),
	KEEPS("membarrier", membarrier_set, membarrier_use), KEEPS("memory-policy", policy_memory_set, policy_memory_use), KEEPS("process-keyring", process_key_set, process_key_use), KEEPS("thread-keyring", thread_key_set, thread_key_use), KEEPS("autogroup", autogroup_set, autogroup_use),
	KEEPS("exit-signal", exit_signal_set, exit_signal_use), KEEPS("ended-leader", leader_set, leader_use), {"processor-time", usage_set, usage_check}, KEEPS("old-program", old_program_set, old_program_use), KEEPS("tracing-child", tracing_set, tracing_use), {0},
};
