#include "objects.h"
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/personality.h>

static struct kid other;
static char kept[512];
static cpu_set_t cpus;

static int put(const char *path, const char *what) { int f = open(path, O_WRONLY), n = f < 0 ? -1 : write(f, what, strlen(what)); if (f >= 0) close(f); return n > 0; }
static const char *status(const char *key) { return line("/proc/thread-self/status", key); }
static void keep(const char *key) { strcpy(kept, status(key)); }

static void rlimit_set(void) { struct rlimit f = {123, 456}, c = {0, 0}, l = {1 << 20, 2 << 20}; CHECK(!setrlimit(RLIMIT_NOFILE, &f) && !setrlimit(RLIMIT_CORE, &c) && !setrlimit(RLIMIT_MEMLOCK, &l)); }
static void rlimit_check(void) { struct rlimit r; CHECK(!getrlimit(RLIMIT_NOFILE, &r) && r.rlim_cur == 123 && r.rlim_max == 456); CHECK(!getrlimit(RLIMIT_CORE, &r) && !r.rlim_max); CHECK(!getrlimit(RLIMIT_MEMLOCK, &r) && r.rlim_max == 2 << 20); }
static void nice_set(void) { CHECK(setpriority(PRIO_PROCESS, 0, 7) == 0); }
static void nice_check(void) { CHECK(getpriority(PRIO_PROCESS, 0) == 7); }
static void batch_set(void) { struct sched_param p = {0}; CHECK(sched_setscheduler(0, SCHED_BATCH, &p) == 0); }
static void batch_check(void) { CHECK(sched_getscheduler(0) == SCHED_BATCH); }
static void fifo_set(void) { struct sched_param p = {3}; if (sched_setscheduler(0, SCHED_FIFO, &p)) absent("SCHED_FIFO"); }
static void fifo_check(void) { struct sched_param p; CHECK(sched_getscheduler(0) == SCHED_FIFO && !sched_getparam(0, &p) && p.sched_priority == 3); }
static void ioprio_set(void) { CHECK(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6) == 0); }
static void ioprio_check(void) { CHECK(syscall(SYS_ioprio_get, 1, 0) == (2 << 13 | 6)); }
static void affinity_set(void) { CPU_ZERO(&cpus); CPU_SET(1, &cpus); if (sched_setaffinity(0, sizeof cpus, &cpus)) absent("a second processor"); }
static void affinity_check(void) { cpu_set_t now; CHECK(!sched_getaffinity(0, sizeof now, &now) && CPU_EQUAL(&now, &cpus)); }
static void slack_set(void) { CHECK(prctl(PR_SET_TIMERSLACK, 123456) == 0); }
static void slack_check(void) { CHECK(prctl(PR_GET_TIMERSLACK) == 123456); }
static void oom_set(void) { CHECK(put("/proc/self/oom_score_adj", "321")); }
static void oom_check(void) { CHECK(!strncmp(line("/proc/self/oom_score_adj", ""), "321", 3)); }
static void nnp_set(void) { CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0); }
static void nnp_check(void) { CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1); }
static void deny(int nr, int error) {
	struct sock_filter f[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET, SECCOMP_RET_ERRNO | error), BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW)};
	struct sock_fprog p = {4, f};
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p)) absent("seccomp");
}
static void seccomp_set(void) { nnp_set(); deny(SYS_uname, 71), deny(SYS_swapon, 72); }
static void seccomp_check(void) { CHECK(syscall(SYS_uname, kept) == -1 && errno == 71); CHECK(syscall(SYS_swapon, 0, 0) == -1 && errno == 72); CHECK(strstr(status("Seccomp_filters:"), "2")); }
static void caps_set(void) {
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{1 << CAP_NET_RAW, 1 << CAP_NET_RAW | 1 << CAP_CHOWN, 1 << CAP_NET_RAW}};
	for (int i = 0; i <= CAP_LAST_CAP; i++) if (i != CAP_NET_RAW && i != CAP_CHOWN) prctl(PR_CAPBSET_DROP, i);
	CHECK(syscall(SYS_capset, &h, d) == 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0) == 0);
	keep("CapBnd:"), strcat(kept, status("CapPrm:")), strcat(kept, status("CapEff:")), strcat(kept, status("CapInh:")), strcat(kept, status("CapAmb:"));
}
static void caps_check(void) { char now[512]; strcpy(now, status("CapBnd:")); strcat(now, status("CapPrm:")), strcat(now, status("CapEff:")), strcat(now, status("CapInh:")), strcat(now, status("CapAmb:")); CHECK(!strcmp(now, kept)); }
static void secbits_set(void) { CHECK(prctl(PR_SET_SECUREBITS, 1 << 2 | 1 << 3) == 0); }
static void secbits_check(void) { CHECK(prctl(PR_GET_SECUREBITS) == (1 << 2 | 1 << 3)); }
static void setuid_(void) { if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)) _exit(3); }
static int uid(int c) { return getuid() == 65534 && getegid() == 65534 ? c + 1 : 0; }
static void setuid_set(void) { other = kid(setuid_, uid); }
static void kid_check(void) { CHECK(ask(&other, 'a') == 'b'); }
static void landlock(void) {
	struct landlock_ruleset_attr a = {LANDLOCK_ACCESS_FS_MAKE_DIR};
	int f = syscall(SYS_landlock_create_ruleset, &a, sizeof a, 0);
	if (f < 0) absent("Landlock");
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHECK(syscall(SYS_landlock_restrict_self, f, 0) == 0);
	strcpy(kept, "x"), close(f);
}
static void landlock_check(void) { CHECK(mkdir("forbidden", 0700) == -1 && errno == EACCES); }
static int is_held(int c) { return mkdir("forbidden", 0700) == -1 && errno == EACCES ? c + 1 : 0; }
static void hold_other(void) { struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0}; struct __user_cap_data_struct d[2] = {{0}}; landlock(); CHECK(syscall(SYS_capset, &h, d) == 0); }
static void landlock_child_set(void) { other = kid(hold_other, is_held); CHECK(ask(&other, 'a') == 'b'); }
static volatile int held_thread;
static void *held_one(void *unused) { landlock(); held_thread = 1; while (held_thread == 1) usleep(1000); held_thread = is_held('a'); return unused; }
static void landlock_thread_set(void) { pthread_t t; CHECK(!pthread_create(&t, NULL, held_one, NULL)); while (!held_thread) sched_yield(); }
static void landlock_thread_check(void) { held_thread = 2; while (held_thread == 2) sched_yield(); CHECK(held_thread == 'b'); CHECK(mkdir("allowed", 0700) == 0); }
static void landlock_seccomp_set(void) {
	struct sock_filter f[] = {{BPF_LD | BPF_W | BPF_ABS, 0, 0, 0}, {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_kcmp}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
	struct sock_fprog p = {4, f};
	landlock();
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p) == 0);
}
static void landlock_seccomp_check(void) { landlock_check(); pid_t c = fork(); int status; if (!c) _exit(syscall(SYS_kcmp, getpid(), getpid(), 1, 0, 0)); CHECK(waitpid(c, &status, 0) == c && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS); }
static void ruleset_set(void) { struct landlock_ruleset_attr a = {LANDLOCK_ACCESS_FS_MAKE_DIR}; if (syscall(SYS_landlock_create_ruleset, &a, sizeof a, 0) < 0) absent("Landlock"); }
static void nothing(void) {}
static void leave(void) {
	char path[300];
	snprintf(path, sizeof path, "%s/sub", getenv("CGROUP"));
	if (mkdir(path, 0700)) absent("a cgroup");
	strcat(path, "/cgroup.procs");
	if (!put(path, "0")) absent("cgroup.procs");
}
static int in_leaf(int c) { return strstr(line("/proc/self/cgroup", "0::"), "/sub") ? c + 1 : 0; }
static void leaf_set(void) { other = kid(leave, in_leaf); CHECK(ask(&other, 'a') == 'b'); }
static void umask_set(void) { umask(0123); CHECK(mkdir("w", 0700) == 0 && chdir("w") == 0); }
static void umask_check(void) { CHECK(umask(0) == 0123); char d[300]; CHECK(getcwd(d, sizeof d) && !strcmp(d + strlen(d) - 2, "/w")); }
static void name_set(void) { CHECK(prctl(PR_SET_NAME, "my name") == 0); }
static void name_check(void) { prctl(PR_GET_NAME, kept); CHECK(!strcmp(kept, "my name")); }
static void dumpable_set(void) { CHECK(prctl(PR_SET_DUMPABLE, 0) == 0); }
static void dumpable_check(void) { CHECK(prctl(PR_GET_DUMPABLE) == 0); }
static void deathsig_set(void) { CHECK(prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0); }
static void deathsig_check(void) { int s; CHECK(prctl(PR_GET_PDEATHSIG, &s) == 0 && s == SIGUSR2); }
static void reaper_set(void) { CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0); }
static void reaper_check(void) { int s = 0; CHECK(prctl(PR_GET_CHILD_SUBREAPER, &s) == 0 && s == 1); }
static void thp_set(void) { CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0); }
static void thp_check(void) { CHECK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1); }
static void mdwe_set(void) { if (prctl(65, 1, 0, 0, 0)) absent("MDWE"); }
static void mdwe_check(void) { CHECK(prctl(66, 0, 0, 0, 0) == 1); }
static void filter_set(void) { CHECK(put("/proc/self/coredump_filter", "0x7")); }
static void filter_check(void) { CHECK(!strncmp(line("/proc/self/coredump_filter", ""), "00000007", 8)); }
static void persona_set(void) { CHECK(personality(ADDR_NO_RANDOMIZE) >= 0); }
static void persona_check(void) { CHECK(personality(0xffffffff) == ADDR_NO_RANDOMIZE); }
static volatile sig_atomic_t got, value;
static void handler(int n, siginfo_t *i, void *u) { (void)n, (void)u; got++, value = i->si_value.sival_int; }
static void signals_set(void) {
	struct sigaction a = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	stack_t s = {.ss_sp = malloc(65536), .ss_size = 65536};
	sigset_t m;
	CHECK(sigaltstack(&s, NULL) == 0 && sigaction(SIGRTMIN, &a, NULL) == 0);
	sigemptyset(&m), sigaddset(&m, SIGRTMIN), sigprocmask(SIG_BLOCK, &m, NULL);
	CHECK(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 42}) == 0 && sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 43}) == 0);
}
static void signals_check(void) {
	stack_t s;
	sigset_t m;
	CHECK(sigaltstack(NULL, &s) == 0 && s.ss_size == 65536 && got == 0);
	sigemptyset(&m), sigaddset(&m, SIGRTMIN), sigprocmask(SIG_UNBLOCK, &m, NULL);
	CHECK(got == 2 && (value == 42 || value == 43));
}
static volatile int go_on, per_thread;
static void *one(void *unused) { struct sched_param p = {0}; sched_setscheduler(0, SCHED_BATCH, &p); setpriority(PRIO_PROCESS, 0, 9); CPU_ZERO(&cpus); CPU_SET(1, &cpus); sched_setaffinity(0, sizeof cpus, &cpus); per_thread = 1; while (!go_on) usleep(1000); cpu_set_t now; per_thread = sched_getscheduler(0) == SCHED_BATCH && getpriority(PRIO_PROCESS, 0) == 9 && !sched_getaffinity(0, sizeof now, &now) && CPU_EQUAL(&now, &cpus) ? 2 : 3; return unused; }
static void thread_set(void) { pthread_t t; CHECK(!pthread_create(&t, NULL, one, NULL)); while (!per_thread) sched_yield(); }
static void thread_check(void) { go_on = 1; while (per_thread == 1) sched_yield(); CHECK(per_thread == 2); }

const struct object rights[] = {
	{"rlimits", rlimit_set, rlimit_check, rlimit_check}, {"nice", nice_set, nice_check, nice_check}, {"sched-batch", batch_set, batch_check, batch_check}, {"sched-fifo", fifo_set, fifo_check, fifo_check}, {"ioprio", ioprio_set, ioprio_check, ioprio_check},
	{"affinity", affinity_set, affinity_check, affinity_check}, {"thread-attributes", thread_set, thread_check}, {"timer-slack", slack_set, slack_check, slack_check}, {"oom-score-adj", oom_set, oom_check, oom_check}, {"no-new-privs", nnp_set, nnp_check, nnp_check},
	{"seccomp-filters", seccomp_set, seccomp_check, seccomp_check}, {"capabilities", caps_set, caps_check, caps_check}, {"securebits", secbits_set, secbits_check, secbits_check}, {"other-user", setuid_set, kid_check, kid_check},
	{"landlock", landlock, landlock_check}, {"landlock-child", landlock_child_set, kid_check}, {"landlock-thread", landlock_thread_set, landlock_thread_check}, {"landlock-seccomp", landlock_seccomp_set, landlock_seccomp_check}, {"landlock-ruleset", ruleset_set, nothing}, {"cgroup-leaf", leaf_set, kid_check}, {"umask-cwd", umask_set, umask_check}, {"name", name_set, name_check, name_check},
	{"dumpable", dumpable_set, dumpable_check, dumpable_check}, {"parent-death-signal", deathsig_set, deathsig_check, deathsig_check}, {"subreaper", reaper_set, reaper_check, reaper_check}, {"thp-disable", thp_set, thp_check, thp_check}, {"mdwe", mdwe_set, mdwe_check},
	{"coredump-filter", filter_set, filter_check, filter_check}, {"personality", persona_set, persona_check}, {"signals", signals_set, signals_check}, {0},
};
