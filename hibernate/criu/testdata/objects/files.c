#include "objects.h"
#include <dirent.h>
#include <poll.h>
#include <pty.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

static int fd, fd2, ends[2];
static struct kid other;
static struct stat was, is;
static char text[65536];

static int create(const char *path) { int f = open(path, O_RDWR | O_CREAT, 0600); CHECK(f >= 0); return f; }
static int same(void) { return fstat(fd, &is) == 0 && is.st_ino == was.st_ino; }

static void offset_set(void) { fd = create("f"); CHECK(write(fd, "0123456789", 10) == 10 && lseek(fd, 4, SEEK_SET) == 4); }
static void offset_check(void) { CHECK(read(fd, text, 2) == 2 && !memcmp(text, "45", 2)); }
static void append_set(void) { CHECK((fd = open("f", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) >= 0); }
static void append_check(void) { CHECK(fcntl(fd, F_GETFL) & O_APPEND && fcntl(fd, F_GETFD) == FD_CLOEXEC); }
static int forward(int c) { return lseek(fd, 1, SEEK_CUR) > 0 ? c : 0; }
static void common_set(void) { fd = create("f"); other = kid(NULL, forward); }
static void common_check(void) { CHECK(ask(&other, 'x') == 'x' && lseek(fd, 0, SEEK_CUR) == 1); }
static void unlinked(size_t size) {
	fd = create("f");
	CHECK(write(fd, "small", 5) == 5);
	memset(text, 9, sizeof text);
	for (size_t n = 0; n < size; n += sizeof text) CHECK(write(fd, text, sizeof text) == sizeof text);
	CHECK(unlink("f") == 0);
}
static void small_set(void) { unlinked(0); }
static void small_check(void) { CHECK(pread(fd, text, 5, 0) == 5 && !memcmp(text, "small", 5)); CHECK(fstat(fd, &is) == 0 && is.st_nlink == 0); }
static void large_set(void) { unlinked(65 << 20); }
static void sparse_set(void) { unlinked(0); CHECK(ftruncate(fd, 1L << 32) == 0); }
static void sparse_check(void) { small_check(); CHECK(is.st_size == 1L << 32 && is.st_blocks < 1024); }
static void tmpfile_set(void) { if ((fd = open(".", O_RDWR | O_TMPFILE, 0600)) < 0) absent("O_TMPFILE"); CHECK(write(fd, "small", 5) == 5); }
static void link_set(void) { fd = create("f"); CHECK(write(fd, "small", 5) == 5 && link("f", "g") == 0 && unlink("f") == 0); fstat(fd, &was); }
static void link_check(void) { CHECK(pread(fd, text, 5, 0) == 5 && !memcmp(text, "small", 5)); CHECK(same() && is.st_nlink == 1); }
static void renamed_set(void) { fd = create("f"); CHECK(rename("f", "h") == 0); fstat(fd, &was); }
static void same_check(void) { CHECK(same()); }
static void dir_set(void) { CHECK((fd = open(".", O_RDONLY | O_DIRECTORY)) >= 0); fstat(fd, &was); }
static void path_set(void) { create("f"); CHECK((fd = open("f", O_PATH)) >= 0); fstat(fd, &was); }
static void path_check(void) { CHECK(same() && fcntl(fd, F_GETFL) & O_PATH); }
static void gone_set(void) { CHECK(mkdir("d", 0700) == 0 && chdir("d") == 0 && rmdir("../d") == 0); }
static void gone_check(void) { CHECK(open("x", O_CREAT | O_RDWR, 0600) == -1 && chdir("..") == 0); }
static void tmp_set(void) { char n[] = "/tmp/dm-XXXXXX"; CHECK((fd = mkstemp(n)) >= 0 && unlink(n) == 0 && write(fd, "small", 5) == 5); }

static void lock(int start) { fd = create("lock"); CHECK(start ? 1 : flock(fd, LOCK_EX) == 0); }
static void dirlock_set(void) { CHECK((fd = open(".", O_RDONLY | O_DIRECTORY)) >= 0 && flock(fd, LOCK_EX) == 0); }
static void dirlock_check(void) { fd2 = open(".", O_RDONLY | O_DIRECTORY); CHECK(flock(fd2, LOCK_EX | LOCK_NB) == -1); close(fd2); }
static void flock_set(void) { lock(0); }
static void flock_check(void) { fd2 = open("lock", O_RDWR); CHECK(flock(fd2, LOCK_EX | LOCK_NB) == -1 && flock(fd, LOCK_UN) == 0 && flock(fd2, LOCK_EX | LOCK_NB) == 0); }
static struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 3, .l_len = 4};
static void posix_set(void) { lock(1); CHECK(fcntl(fd, F_SETLK, &range) == 0); }
static void ofd_set(void) { lock(1); CHECK(fcntl(fd, F_OFD_SETLK, &range) == 0); }
static int taken(int command) { struct flock l = range; l.l_len = 0, l.l_start = 0; CHECK(fcntl(fd2 = open("lock", O_RDWR), command, &l) == 0); return l.l_type == F_WRLCK && l.l_start == 3 && l.l_len == 4; }
static int taken_posix(int c) { return taken(F_GETLK) ? c : 0; }
static void posix_check(void) { other = kid(NULL, taken_posix); CHECK(ask(&other, 'x') == 'x'); }
static void ofd_check(void) { CHECK(taken(F_OFD_GETLK)); }
static void lease_set(void) { close(create("lock")); CHECK((fd = open("lock", O_RDONLY)) >= 0); if (fcntl(fd, F_SETLEASE, F_RDLCK)) absent("lease"); }
static void lease_check(void) { CHECK(fcntl(fd, F_GETLEASE) == F_RDLCK); }
static void *locks(void *unused) { int f = open("lock", O_RDWR); flock(f, LOCK_EX); write(ends[1], "l", 1); return unused; }
static void await_lock(void) { pthread_t t; pthread_create(&t, NULL, locks, NULL); }
static void blocked_set(void) { lock(0); CHECK(pipe(ends) == 0); other = kid(await_lock, plus); }
static void blocked_check(void) { CHECK(flock(fd, LOCK_UN) == 0 && read(ends[0], text, 1) == 1); }

static void pipe_set(void) { CHECK(pipe2(ends, O_NONBLOCK) == 0 && fcntl(ends[0], F_SETPIPE_SZ, 1 << 18) == 1 << 18 && write(ends[1], "in flight", 9) == 9); }
static void pipe_check(void) { CHECK(read(ends[0], text, 99) == 9 && !memcmp(text, "in flight", 9)); CHECK(read(ends[0], text, 1) == -1 && errno == EAGAIN && fcntl(ends[0], F_GETPIPE_SZ) == 1 << 18); }
static void packets_set(void) { CHECK(pipe2(ends, O_DIRECT) == 0 && write(ends[1], "ab", 2) == 2 && write(ends[1], "cde", 3) == 3); }
static void packets_check(void) { CHECK(read(ends[0], text, 99) == 2); CHECK(read(ends[0], text, 99) == 3); }
static void fifo_set(void) { CHECK(mkfifo("p", 0600) == 0 && (fd = open("p", O_RDWR)) >= 0 && write(fd, "in flight", 9) == 9); }
static void fifo_check(void) { CHECK(read(fd, text, 99) == 9 && !memcmp(text, "in flight", 9)); }
static void eventfd_set(void) { CHECK((fd = eventfd(3, EFD_SEMAPHORE)) >= 0); }
static void eventfd_check(void) { uint64_t n = 0; CHECK(read(fd, &n, 8) == 8 && n == 1); CHECK(read(fd, &n, 8) == 8 && n == 1); }
static void event_set(void) { CHECK((fd = eventfd(3, 0)) >= 0); }
static void event_check(void) { uint64_t n = 0; CHECK(read(fd, &n, 8) == 8 && n == 3); }
static void epoll_set(void) {
	struct epoll_event e = {EPOLLIN | EPOLLET, {.u64 = 77}};
	CHECK(pipe(ends) == 0 && (fd = epoll_create1(0)) >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, ends[0], &e) == 0);
}
static void epoll_check(void) { struct epoll_event e; CHECK(write(ends[1], "x", 1) == 1 && epoll_wait(fd, &e, 1, 3000) == 1 && e.data.u64 == 77); }
static void inotify_set(void) { CHECK(mkdir("watched", 0700) == 0 && (fd = inotify_init1(IN_NONBLOCK)) >= 0 && (fd2 = inotify_add_watch(fd, "watched", IN_CREATE)) > 0); }
static void inotify_check(void) { while (read(fd, text, sizeof text) > 0); close(create("watched/new")); CHECK(read(fd, text, sizeof text) > 0 && ((struct inotify_event *)text)->wd == fd2 && ((struct inotify_event *)text)->mask == IN_CREATE); }
static void queued_set(void) { inotify_set(); close(create("watched/before")); }
static void queued_check(void) { CHECK(read(fd, text, sizeof text) > 0); CHECK(!strcmp(((struct inotify_event *)text)->name, "before")); }
static void fanotify_set(void) { if ((fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY)) < 0) absent("fanotify"); create("w"); CHECK(fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "w") == 0); }
static void fanotify_check(void) { close(open("w", O_RDONLY)); CHECK(read(fd, text, sizeof text) > 0); }
static void fanotify_queued_set(void) { fanotify_set(); close(open("w", O_RDONLY)); }
static void fanotify_queued_check(void) { CHECK(read(fd, text, sizeof text) > 0); }
static void signalfd_set(void) { sigset_t s; sigemptyset(&s), sigaddset(&s, SIGUSR2), sigprocmask(SIG_BLOCK, &s, NULL); CHECK((fd = signalfd(-1, &s, 0)) >= 0); raise(SIGUSR2); }
static void signalfd_check(void) { struct signalfd_siginfo i; CHECK(read(fd, &i, sizeof i) == sizeof i && i.ssi_signo == SIGUSR2); }
static void pidfd_set(void) { other = kid(NULL, plus); if ((fd = syscall(SYS_pidfd_open, other.pid, 0)) < 0) absent("pidfd"); }
static void pidfd_check(void) { CHECK(syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0); struct pollfd p = {fd, POLLIN, 0}; CHECK(poll(&p, 1, 3000) == 1); }
static void pty_set(void) { CHECK(openpty(&fd, &fd2, NULL, NULL, NULL) == 0 && write(fd2, "in flight\n", 10) == 10); struct winsize w = {33, 44, 0, 0}; CHECK(ioctl(fd, TIOCSWINSZ, &w) == 0); }
static void pty_check(void) { struct winsize w; CHECK(ioctl(fd2, TIOCGWINSZ, &w) == 0 && w.ws_row == 33); CHECK(write(fd2, "more\n", 5) == 5 && read(fd, text, 99) >= 5); }
static void ptydata_check(void) { CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0); CHECK(read(fd, text, 99) >= 9 && !memcmp(text, "in flight", 9)); }
static void control(void) { setsid(); ioctl(fd2, TIOCSCTTY, 0); }
static int controlled(int c) { int f = open("/dev/tty", O_RDWR); if (f < 0) return 0; close(f); return tcgetsid(fd2) == getpid() ? c : 0; }
static void tty_set(void) { CHECK(openpty(&fd, &fd2, NULL, NULL, NULL) == 0); other = kid(control, controlled); CHECK(ask(&other, 'x') == 'x'); }
static void tty_check(void) { CHECK(ask(&other, 'x') == 'x'); }
static int many; // files, 5,000 or what the hard limit allows
static void many_set(void) {
	struct rlimit r;
	CHECK(getrlimit(RLIMIT_NOFILE, &r) == 0);
	if (r.rlim_max > 8192) r.rlim_max = 8192;
	r.rlim_cur = r.rlim_max;
	CHECK(setrlimit(RLIMIT_NOFILE, &r) == 0);
	many = r.rlim_max < 5200 ? (int)r.rlim_max - 200 : 5000;
	CHECK(many >= 500);
	for (int i = 0; i < many; i++) { CHECK((fd = open("many", O_RDWR | O_CREAT, 0600)) >= 0); lseek(fd, i, SEEK_SET); }
}
static void many_check(void) { for (int i = 0; i < many; i++) CHECK(lseek(fd - i, 0, SEEK_CUR) == many - 1 - i); }
static void owner_set(void) { CHECK(pipe(ends) == 0 && fcntl(ends[0], F_SETOWN, getpid()) == 0 && fcntl(ends[0], F_SETSIG, SIGUSR1) == 0); }
static void owner_check(void) { CHECK(fcntl(ends[0], F_GETOWN) == getpid() && fcntl(ends[0], F_GETSIG) == SIGUSR1); }
static void memory_devices_set(void) { CHECK((ends[0] = open("/dev/zero", O_RDONLY)) >= 0 && (ends[1] = open("/dev/null", O_WRONLY)) >= 0 && (fd = open("/dev/urandom", O_RDONLY)) >= 0 && (fd2 = open("/dev/full", O_WRONLY)) >= 0); }
static void memory_devices_check(void) { *text = 1; CHECK(read(ends[0], text, 1) == 1 && !*text && write(ends[1], "x", 1) == 1 && read(fd, text, 8) == 8); CHECK(write(fd2, "x", 1) == -1 && errno == ENOSPC); }
static void device_set(void) { if ((fd = open("/dev/fuse", O_RDWR)) < 0) absent("/dev/fuse"); }
static void device_check(void) { CHECK(fstat(fd, &is) == 0 && S_ISCHR(is.st_mode)); }
static void proc_self_set(void) { CHECK((fd = open("/proc/self/stat", O_RDONLY)) >= 0); }
static void proc_self_check(void) { CHECK(read(fd, text, 99) > 0); }
static void io_uring_set(void) { memset(text, 0, 120); if ((fd = syscall(SYS_io_uring_setup, 8, text)) < 0) absent("io_uring"); }
static void userfaultfd_set(void) { if ((fd = syscall(SYS_userfaultfd, O_CLOEXEC)) < 0) absent("userfaultfd"); }
static void there_check(void) { CHECK(fcntl(fd, F_GETFD) >= 0); }

// What is done with these objects between the sleeps leaves them as they were set up.
static void flock_use(void) { int f = open("lock", O_RDWR); CHECK(flock(f, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK && close(f) == 0); }
static void posix_use(void) { pid_t p = fork(); int s; if (!p) _exit(taken(F_GETLK) ? 0 : 1); CHECK(waitpid(p, &s, 0) == p && s == 0); }
static void pipe_use(void) { CHECK(read(ends[0], text, 99) == 9 && !memcmp(text, "in flight", 9) && write(ends[1], "in flight", 9) == 9); }
static void fifo_use(void) { CHECK(read(fd, text, 99) == 9 && !memcmp(text, "in flight", 9) && write(fd, "in flight", 9) == 9); }
static void event_use(void) { uint64_t n = 0; CHECK(read(fd, &n, 8) == 8 && n == 3 && write(fd, &n, 8) == 8); }
static void inotify_use(void) { while (read(fd, text, sizeof text) > 0); close(create("watched/use")); CHECK(read(fd, text, sizeof text) > 0 && unlink("watched/use") == 0); while (read(fd, text, sizeof text) > 0); }
static void fanotify_use(void) { while (read(fd, text, sizeof text) > 0); fanotify_check(); while (read(fd, text, sizeof text) > 0); }
static void signalfd_use(void) { signalfd_check(); raise(SIGUSR2); }
static void pidfd_use(void) { struct pollfd p = {fd, POLLIN, 0}; CHECK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0 && poll(&p, 1, 0) == 0); }

const struct object files[] = {
	{"memory-devices", memory_devices_set, memory_devices_check, memory_devices_check}, {"device", device_set, device_check}, {"proc-self", proc_self_set, proc_self_check},
	{"io_uring", io_uring_set, there_check}, {"userfaultfd", userfaultfd_set, there_check},
	{"offset", offset_set, offset_check}, {"flags", append_set, append_check, append_check}, {"shared-offset", common_set, common_check},
	{"deleted-small", small_set, small_check, small_check}, {"deleted-large", large_set, small_check}, {"deleted-sparse", sparse_set, sparse_check, sparse_check},
	{"tmpfile", tmpfile_set, small_check, small_check}, {"deleted-linked", link_set, link_check, link_check}, {"renamed", renamed_set, same_check, same_check},
	{"directory", dir_set, same_check, same_check}, {"o-path", path_set, path_check, path_check}, {"deleted-cwd", gone_set, gone_check}, {"deleted-in-tmp", tmp_set, small_check, small_check},
	{"flock", flock_set, flock_check, flock_use}, {"directory-lock", dirlock_set, dirlock_check, dirlock_check}, {"posix-lock", posix_set, posix_check, posix_use}, {"ofd-lock", ofd_set, ofd_check, ofd_check}, {"lease", lease_set, lease_check, lease_check},
	{"blocked-on-lock", blocked_set, blocked_check}, {"pipe", pipe_set, pipe_check, pipe_use}, {"packet-pipe", packets_set, packets_check}, {"fifo", fifo_set, fifo_check, fifo_use},
	{"eventfd", event_set, event_check, event_use}, {"eventfd-semaphore", eventfd_set, eventfd_check}, {"epoll", epoll_set, epoll_check, epoll_check}, {"inotify", inotify_set, inotify_check, inotify_use}, {"inotify-queued", queued_set, queued_check},
	{"fanotify", fanotify_set, fanotify_check, fanotify_use}, {"fanotify-queued", fanotify_queued_set, fanotify_queued_check}, {"signalfd", signalfd_set, signalfd_check, signalfd_use}, {"pidfd", pidfd_set, pidfd_check, pidfd_use}, {"pty", pty_set, pty_check, pty_check},
	{"pty-data", pty_set, ptydata_check}, {"controlling-terminal", tty_set, tty_check, tty_check}, {"many-files", many_set, many_check, many_check}, {"file-owner", owner_set, owner_check, owner_check}, {0},
};
