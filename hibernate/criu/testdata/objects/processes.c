#include "objects.h"
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/un.h>

static struct kid other, chain[2];
static int ends[2], back[2];
static char text[128];
static volatile int *count;
static pid_t pid;

static pthread_barrier_t gate;
static __thread int mine;
static volatile long total;
static void *worker(void *n) { mine = (long)n; pthread_barrier_wait(&gate); pthread_barrier_wait(&gate); __atomic_add_fetch(&total, mine, 5); pthread_barrier_wait(&gate); return NULL; }
static void threads_set(void) {
	pthread_attr_t a;
	pthread_t t;
	pthread_attr_init(&a), pthread_attr_setstacksize(&a, 65536), pthread_barrier_init(&gate, NULL, 501);
	for (long i = 0; i < 500; i++) CHECK(pthread_create(&t, &a, worker, (void *)i) == 0);
	pthread_barrier_wait(&gate);
}
static void threads_check(void) { pthread_barrier_wait(&gate), pthread_barrier_wait(&gate); CHECK(total == 499 * 250); }

// A chain of processes, each the child of the one before, that passes a byte down and up.
static int deep;
static int down(int c) { return deep ? ask(&chain[1], c) + 1 : c + 1; }
static void begin_chain(void) { if (--deep > 0) chain[1] = kid(begin_chain, down); }
static void chain_of(int n) { deep = n; chain[0] = kid(begin_chain, down); }
static void grandchildren_set(void) { chain_of(3); }
static void grandchildren_check(void) { CHECK(ask(&chain[0], 1) == 4); }
static void deep_set(void) { chain_of(100); }
static void deep_check(void) { CHECK(ask(&chain[0], 1) == 101); }
static struct kid wide[200];
static void wide_set(void) { for (int i = 0; i < 200; i++) wide[i] = kid(NULL, plus); }
static void wide_check(void) { for (int i = 0; i < 200; i++) CHECK(ask(&wide[i], 1) == 2); }

static void shell_set(void) {
	CHECK(pipe(ends) == 0 && pipe(back) == 0);
	FILE *f = fopen("script", "w");
	fputs("#!/bin/sh\nn=0\necho up\nwhile read -r x; do n=$((n+1)); echo \"$x $n\" | tr a-z A-Z; done\n", f), fclose(f), chmod("script", 0700);
	if ((pid = fork()) == 0) { dup2(ends[0], 0), dup2(back[1], 1), close(ends[1]), execl("./script", "script", NULL), _exit(1); }
	CHECK(read(back[0], text, 99) == 3);
}
static void shell_check(void) { CHECK(write(ends[1], "hi\n", 3) == 3 && read(back[0], text, 5) == 5 && !memcmp(text, "HI 1\n", 5)); }
static void zombie_set(void) { siginfo_t i; if ((pid = fork()) == 0) _exit(7); CHECK(waitid(P_PID, pid, &i, WEXITED | WNOWAIT) == 0); }
static void zombie_check(void) { int s; CHECK(waitpid(pid, &s, 0) == pid && WIFEXITED(s) && WEXITSTATUS(s) == 7); }
static void stopped_set(void) { other = kid(NULL, plus); kill(other.pid, SIGSTOP); CHECK(waitpid(other.pid, NULL, WUNTRACED) == other.pid); }
static void stopped_check(void) { char p[64]; FILE *f = fopen("/proc/thread-self/children", "r"); int host = 0; CHECK(f && fscanf(f, "%d", &host) == 1); snprintf(p, sizeof p, "/proc/%d/status", host); CHECK(strstr(line(p, "State:"), "T (stopped)")); kill(other.pid, SIGCONT); CHECK(ask(&other, 'a') == 'b'); }
static void traceme(void) { ptrace(PTRACE_TRACEME, 0, 0, 0); }
static void traced_set(void) { other = kid(traceme, plus); }
static void plain_check(void) { CHECK(ask(&other, 'a') == 'b'); }
static void enter(int flag) { if (unshare(flag)) _exit(3); }
static void user(void) { enter(CLONE_NEWUSER); }
static void mount_(void) { enter(CLONE_NEWNS); }
static void net(void) { enter(CLONE_NEWNET); }
static void uts(void) { enter(CLONE_NEWUTS); }
static void ipc(void) { enter(CLONE_NEWIPC); }
static void cgroup(void) { enter(CLONE_NEWCGROUP); }
static void below(int flag) { enter(flag); if (fork() == 0) for (;;) pause(); }
static void pidns(void) { below(CLONE_NEWPID); }
static void timens(void) { below(CLONE_NEWTIME); }
static void nested(void (*how)(void)) { other = kid(how, plus); }
static void user_set(void) { nested(user); }
static void mount_set(void) { nested(mount_); }
static void net_set(void) { nested(net); }
static void uts_set(void) { nested(uts); }
static void ipc_set(void) { nested(ipc); }
static void cgroup_set(void) { nested(cgroup); }
static void pidns_set(void) { nested(pidns); }
static void timens_set(void) { nested(timens); }
static int inside(int c) { return access("/only-here", F_OK) == 0 ? c + 1 : 0; }
static void jail(void) { if (mkdir("jail", 0700) || mkdir("jail/only-here", 0700) || chroot("jail") || chdir("/")) _exit(3); }
static void chroot_set(void) { other = kid(jail, inside); }
static pid_t sid, pgid;
static void leader(void) { setsid(); chain[1] = kid(NULL, plus); setpgid(chain[1].pid, chain[1].pid); }
static int groups(int c) { return getsid(0) == getpid() && getsid(chain[1].pid) == getpid() && getpgid(chain[1].pid) == chain[1].pid && ask(&chain[1], 1) == 2 ? c + 1 : 0; }
static void groups_set(void) { other = kid(leader, groups); sid = getsid(0), pgid = getpgrp(); }
static void groups_check(void) { plain_check(); CHECK(getsid(0) == sid && getpgrp() == pgid && getsid(other.pid) == other.pid); }
static void orphan_set(void) {
	CHECK(pipe(ends) == 0 && pipe(back) == 0);
	if ((pid = fork()) == 0) { if (fork() == 0) { char c; while (getppid() != 1) sched_yield(); write(back[1], "r", 1); while (read(ends[0], &c, 1) == 1) c = getppid(), write(back[1], &c, 1); _exit(0); } _exit(0); }
	waitpid(pid, NULL, 0);
	CHECK(read(back[0], text, 1) == 1);
}
static void orphan_check(void) { CHECK(write(ends[1], "?", 1) == 1 && read(back[0], text, 1) == 1 && *text == 1); }
static void busy_set(void) {
	count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if ((pid = fork()) == 0) for (;;) { int s; pid_t p = fork(); if (p == 0) execl("/bin/true", "true", NULL), _exit(9); if (waitpid(p, &s, 0) != p || s) count[1]++; count[0]++; }
	while (*count < 5) sched_yield();
}
static void busy_check(void) { int n = *count; while (*count < n + 20) sched_yield(); CHECK(count[1] == 0); kill(pid, SIGKILL); }
static void vfork_set(void) {
	CHECK(pipe(ends) == 0 && pipe(back) == 0);
	if ((pid = fork()) == 0) { if (vfork() == 0) { char c; write(back[1], "r", 1), read(ends[0], &c, 1), _exit(0); } write(back[1], "d", 1); for (;;) pause(); }
	CHECK(read(back[0], text, 1) == 1);
}
static void vfork_check(void) { CHECK(write(ends[1], "x", 1) == 1 && read(back[0], text, 1) == 1 && *text == 'd'); }
static void deleted_set(void) { CHECK(pipe(ends) == 0 && pipe(back) == 0); CHECK(system("cp /bin/cat mycat") == 0); if ((pid = fork()) == 0) { dup2(ends[0], 0), dup2(back[1], 1), close(ends[1]), execl("./mycat", "mycat", NULL), _exit(1); } CHECK(write(ends[1], "a", 1) == 1 && read(back[0], text, 1) == 1 && unlink("mycat") == 0); }
static void deleted_check(void) { CHECK(write(ends[1], "b", 1) == 1 && read(back[0], text, 1) == 1 && *text == 'b'); }
static int raw_clone(void *unused) { (void)unused; for (;;) pause(); return 0; }
static void shared_table_set(void) { static char stack[65536]; CHECK(pipe(ends) == 0 && (pid = clone(raw_clone, stack + 65536, CLONE_FILES | SIGCHLD, NULL)) > 0); }
static void shared_table_check(void) { CHECK(syscall(SYS_kcmp, getpid(), pid, 2 /* KCMP_FILES */, 0, 0) == 0); }
static void shared_directory_set(void) { static char stack[65536]; CHECK((pid = clone(raw_clone, stack + 65536, CLONE_FS | SIGCHLD, NULL)) > 0); }
static void shared_directory_check(void) { CHECK(syscall(SYS_kcmp, getpid(), pid, 3 /* KCMP_FS */, 0, 0) == 0); }
static int never(void *unused) { (void)unused; for (;;) pause(); return 0; }
static void shared_vm_set(void) { static char stack[65536]; CHECK((pid = clone(never, stack + 65536, CLONE_VM | SIGCHLD, NULL)) > 0); }
static void shared_vm_check(void) { CHECK(syscall(SYS_kcmp, getpid(), pid, 1 /* KCMP_VM */, 0, 0) == 0); }

const struct object processes[] = {
	{"threads", threads_set, threads_check}, {"grandchildren", grandchildren_set, grandchildren_check, grandchildren_check}, {"deep-tree", deep_set, deep_check, deep_check}, {"many-children", wide_set, wide_check, wide_check},
	{"shell-script", shell_set, shell_check}, {"zombie", zombie_set, zombie_check}, {"stopped-child", stopped_set, stopped_check}, {"ptraced", traced_set, plain_check},
	{"user-namespace", user_set, plain_check}, {"pid-namespace", pidns_set, plain_check}, {"mount-namespace", mount_set, plain_check}, {"net-namespace", net_set, plain_check},
	{"uts-namespace", uts_set, plain_check}, {"ipc-namespace", ipc_set, plain_check}, {"cgroup-namespace", cgroup_set, plain_check}, {"time-namespace", timens_set, plain_check},
	{"chroot", chroot_set, plain_check, plain_check}, {"sessions", groups_set, groups_check, groups_check}, {"orphan", orphan_set, orphan_check, orphan_check}, {"fork-exec-loop", busy_set, busy_check},
	{"vfork", vfork_set, vfork_check}, {"deleted-executable", deleted_set, deleted_check, deleted_check}, {"shared-descriptors", shared_table_set, shared_table_check, shared_table_check}, {"shared-directory", shared_directory_set, shared_directory_check}, {"shared-memory-child", shared_vm_set, shared_vm_check}, {0},
};
