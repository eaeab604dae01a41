// Files that the kernel makes up, devices, and what watches files.
#include "objects.h"
#include <linux/bpf.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <linux/filter.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static int fd, fd2, watch, ends[2];
static struct stat was, is;
static char text[4096];
static struct kid other;

static int opened(const char *path, int how) { return fd = open(path, how | O_CLOEXEC); }
static void open_or_absent(const char *path, int how) { if (opened(path, how) < 0) absent(path); }
static int readable(void) { return lseek(fd, 0, SEEK_SET) == 0 && read(fd, text, sizeof text) > 0; }
static void readable_use(void) { CHECK(readable()); }
static void there_use(void) { CHECK(fcntl(fd, F_GETFD) >= 0); }

static void own_netns_set(void) { open_or_absent("/proc/self/ns/net", O_RDONLY); }
static void own_mntns_set(void) { open_or_absent("/proc/self/ns/mnt", O_RDONLY); }
static void own_pidns_set(void) { open_or_absent("/proc/self/ns/pid", O_RDONLY); }
static void netns_use(void) { CHECK(setns(fd, CLONE_NEWNET) == 0); }
static void mntns_use(void) { CHECK(fstat(fd, &is) == 0 && stat("/proc/self/ns/mnt", &was) == 0 && is.st_ino == was.st_ino); }
static void pidns_use(void) { CHECK(fstat(fd, &is) == 0 && stat("/proc/self/ns/pid", &was) == 0 && is.st_ino == was.st_ino); }

// The program sees the host's /proc: 2 is a thread of the kernel.
static void proc_other_set(void) { open_or_absent("/proc/2/stat", O_RDONLY); }
static void proc_other_dir_set(void) { open_or_absent("/proc/2", O_RDONLY | O_DIRECTORY); }
static void proc_other_dir_use(void) { CHECK((fd2 = openat(fd, "stat", O_RDONLY)) >= 0); close(fd2); }
static void proc_set(void) { open_or_absent("/proc/meminfo", O_RDONLY); }
static void proc_dir_set(void) { open_or_absent("/proc", O_RDONLY | O_DIRECTORY); }
static void proc_dir_use(void) { CHECK((fd2 = openat(fd, "meminfo", O_RDONLY)) >= 0); close(fd2); }
static void proc_mountinfo_set(void) { open_or_absent("/proc/self/mountinfo", O_RDONLY); }
static void sys_set(void) { open_or_absent("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY); }
static void cgroup_set(void) {
	snprintf(text, sizeof text, "%s/cgroup.procs", getenv("CGROUP"));
	open_or_absent(text, O_RDONLY);
}

static void kmsg_set(void) { open_or_absent("/dev/kmsg", O_RDONLY | O_NONBLOCK); }
static void kmsg_use(void) { ssize_t n = read(fd, text, sizeof text); CHECK(n > 0 || errno == EAGAIN); }
static void tty0_set(void) { open_or_absent("/dev/tty0", O_RDWR | O_NOCTTY); }
static void console_set(void) { open_or_absent("/dev/console", O_RDWR | O_NOCTTY); }
static void block_set(void) { open_or_absent("/dev/loop7", O_RDONLY); }
static void kvm_set(void) { open_or_absent("/dev/kvm", O_RDWR); }
static void machine_set(void) { open_or_absent("/dev/kvm", O_RDWR); int kvm = fd; fd = ioctl(kvm, 0xae01 /* KVM_CREATE_VM */, 0), close(kvm); if (fd < 0) absent("KVM_CREATE_VM"); }
static void tunnel_set(void) {
	struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	open_or_absent("/dev/net/tun", O_RDWR);
	strcpy(r.ifr_name, "dmtest%d");
	if (ioctl(fd, TUNSETIFF, &r)) absent("TUNSETIFF");
}
static void tunnel_use(void) { struct ifreq r = {0}; CHECK(ioctl(fd, TUNGETIFF, &r) == 0); }
static void tunnel_idle_set(void) { open_or_absent("/dev/net/tun", O_RDWR); }

static void bpf_map_set(void) {
	union bpf_attr a = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	if ((fd = syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof a)) < 0) absent("BPF maps");
	int key = 0, value = 42;
	union bpf_attr u = {.map_fd = fd, .key = (uintptr_t)&key, .value = (uintptr_t)&value};
	CHECK(syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &u, sizeof u) == 0);
}
static void bpf_map_use(void) {
	int key = 0, value = 0;
	union bpf_attr u = {.map_fd = fd, .key = (uintptr_t)&key, .value = (uintptr_t)&value};
	CHECK(syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &u, sizeof u) == 0 && value == 42);
}
static void notifier_set(void) {
	struct sock_filter f[] = {BPF_STMT(BPF_RET, SECCOMP_RET_ALLOW)};
	struct sock_fprog p = {1, f};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if ((fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &p)) < 0) absent("seccomp listeners");
}
static void file_context_set(void) { if ((fd = syscall(SYS_fsopen, "tmpfs", 1)) < 0) absent("fsopen"); }
static void detached_mount_set(void) { if ((fd = syscall(SYS_open_tree, AT_FDCWD, "/tmp", 1 | O_CLOEXEC)) < 0) absent("open_tree"); }
static void directory_at_use(void) { CHECK((fd2 = openat(fd, ".", O_RDONLY | O_DIRECTORY)) >= 0); close(fd2); }

static void path_link_set(void) { CHECK(symlink("target", "link") == 0 && opened("link", O_PATH | O_NOFOLLOW) >= 0); }
static void path_link_use(void) { CHECK(readlinkat(fd, "", text, sizeof text) == 6 && !memcmp(text, "target", 6)); }
static void path_socket_set(void) {
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "s"};
	CHECK((fd2 = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && bind(fd2, (void *)&a, sizeof a) == 0 && close(fd2) == 0);
	CHECK(opened("s", O_PATH) >= 0);
}
static void path_socket_use(void) { CHECK(fstat(fd, &is) == 0 && S_ISSOCK(is.st_mode)); }
static void path_fifo_set(void) { CHECK(mkfifo("f", 0600) == 0 && opened("f", O_PATH) >= 0); }
static void path_fifo_use(void) { CHECK(fstat(fd, &is) == 0 && S_ISFIFO(is.st_mode) && fcntl(fd, F_GETFL) & O_PATH); }
static void path_device_set(void) { CHECK(opened("/dev/null", O_PATH) >= 0); }
static void path_device_use(void) { CHECK(fcntl(fd, F_GETFL) & O_PATH); CHECK(fstat(fd, &is) == 0 && S_ISCHR(is.st_mode)); }
static void gone_directory_set(void) { CHECK(mkdir("gone", 0700) == 0 && opened("gone", O_RDONLY | O_DIRECTORY) >= 0 && rmdir("gone") == 0); }
static void gone_directory_use(void) { CHECK(fstat(fd, &is) == 0 && S_ISDIR(is.st_mode)); CHECK(openat(fd, "x", O_CREAT | O_RDWR, 0600) == -1 && errno == ENOENT); }
static void gone_fifo_set(void) { CHECK(mkfifo("f", 0600) == 0 && opened("f", O_RDWR) >= 0 && unlink("f") == 0); }
static void gone_fifo_use(void) { CHECK(write(fd, "x", 1) == 1 && read(fd, text, 1) == 1); }
static void directory_position_set(void) {
	CHECK(mkdir("many", 0700) == 0);
	for (int i = 0; i < 9; i++) { snprintf(text, 99, "many/%d", i); CHECK((fd2 = open(text, O_CREAT | O_RDWR, 0600)) >= 0); close(fd2); }
	CHECK(opened("many", O_RDONLY | O_DIRECTORY) >= 0 && syscall(SYS_getdents64, fd, text, 120) > 0);
}
static void directory_position_check(void) { int n = 0; for (long got; (got = syscall(SYS_getdents64, fd, text, sizeof text)) > 0;) for (long at = 0; at < got; at += *(unsigned short *)(text + at + 16)) n++; CHECK(n > 0 && n < 11); }
static void direct_set(void) { if (opened("direct", O_RDWR | O_CREAT | O_DIRECT) < 0) absent("O_DIRECT"); fchmod(fd, 0600); }
static void direct_use(void) { CHECK(fcntl(fd, F_GETFL) & O_DIRECT); }
static void tmpfs_set(void) { snprintf(text, 99, "/dev/shm/dm-%ld-%d", (long)time(NULL), (int)syscall(SYS_gettid)); CHECK((fd = open(text, O_RDWR | O_CREAT, 0600)) >= 0); if (!(other = kid(NULL, plus)).pid) absent("kid"); }
static void tmpfs_use(void) { CHECK(pwrite(fd, "x", 1, 0) == 1 && pread(fd, text + 100, 1, 0) == 1); }
static void tmpfs_check(void) { tmpfs_use(); CHECK(unlink(text) == 0); }

static void watch_path(const char *path, int what) {
	CHECK((fd = inotify_init1(IN_NONBLOCK)) >= 0);
	if ((watch = inotify_add_watch(fd, path, what)) < 0) absent(path);
}
static void watch_proc_set(void) { watch_path("/proc/sys/kernel", IN_OPEN); }
static void watch_proc_use(void) { close(open("/proc/sys/kernel/hostname", O_RDONLY)); CHECK(read(fd, text, sizeof text) > 0); while (read(fd, text, sizeof text) > 0); }
static void watch_sys_set(void) { watch_path("/sys/kernel/mm", IN_OPEN); }
static void watch_sys_use(void) { close(open("/sys/kernel/mm", O_RDONLY)); CHECK(read(fd, text, sizeof text) > 0); while (read(fd, text, sizeof text) > 0); }
static void watch_cgroup_set(void) { snprintf(text, sizeof text, "%s/cgroup.events", getenv("CGROUP")); char path[400]; strncpy(path, text, 399); watch_path(path, IN_OPEN); /* IN_MODIFY comes late, that of the start too */ close(open(path, O_RDONLY)); CHECK(read(fd, text, sizeof text) > 0); }
static void watch_cgroup_use(void) { char path[400]; snprintf(path, 400, "%s/cgroup.events", getenv("CGROUP")); close(open(path, O_RDONLY)); CHECK(read(fd, text, sizeof text) > 0); }
static void watch_deleted_set(void) { CHECK((fd2 = open("deleted", O_RDWR | O_CREAT, 0600)) >= 0); watch_path("deleted", IN_MODIFY); CHECK(unlink("deleted") == 0); while (read(fd, text, sizeof text) > 0); }
static void watch_deleted_use(void) { CHECK(write(fd2, "x", 1) == 1 && read(fd, text, sizeof text) > 0); while (read(fd, text, sizeof text) > 0); }
static void fanotify_mount_set(void) { if ((fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY)) < 0 || fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN_EXEC, AT_FDCWD, "/sys/fs/cgroup")) absent("fanotify"); }
static void fanotify_fs_set(void) { if ((fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY)) < 0 || fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN_EXEC, AT_FDCWD, "/sys/fs/cgroup")) absent("fanotify"); }
static void fanotify_use(void) { CHECK(read(fd, text, sizeof text) == -1 && errno == EAGAIN); snprintf(text, 99, "/proc/thread-self/fdinfo/%d", fd); CHECK(strstr(line(text, "fanotify m") ?: "", "mask") || strstr(line(text, "fanotify s") ?: "", "mask")); }

static int epoll_pipe(int what) {
	struct epoll_event e = {what, {.u64 = 77}};
	CHECK(pipe2(ends, O_NONBLOCK) == 0 && (fd = epoll_create1(0)) >= 0);
	return epoll_ctl(fd, EPOLL_CTL_ADD, ends[0], &e);
}
static void epoll_use(void) { struct epoll_event e; CHECK(write(ends[1], "x", 1) == 1 && epoll_wait(fd, &e, 1, 3000) == 1 && e.data.u64 == 77); CHECK(read(fd2 > 0 ? fd2 : ends[0], text, 1) == 1); }
static void epoll_dup_set(void) { CHECK(epoll_pipe(EPOLLIN) == 0); fd2 = dup(ends[0]); close(ends[0]); }
static void epoll_oneshot_set(void) { CHECK(epoll_pipe(EPOLLIN | EPOLLONESHOT) == 0); epoll_use(); }
static void epoll_oneshot_use(void) { struct epoll_event e = {EPOLLIN | EPOLLONESHOT, {.u64 = 77}}; CHECK(write(ends[1], "x", 1) == 1 && epoll_wait(fd, &e, 1, 0) == 0); e.events = EPOLLIN | EPOLLONESHOT, e.data.u64 = 77; CHECK(epoll_ctl(fd, EPOLL_CTL_MOD, ends[0], &e) == 0 && epoll_wait(fd, &e, 1, 3000) == 1 && read(ends[0], text, 1) == 1); }
static void epoll_nested_set(void) { CHECK(epoll_pipe(EPOLLIN) == 0); int inner = fd; struct epoll_event e = {EPOLLIN, {.u64 = 78}}; CHECK((fd = epoll_create1(0)) >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, inner, &e) == 0); }
static void epoll_nested_use(void) { struct epoll_event e; CHECK(write(ends[1], "x", 1) == 1 && epoll_wait(fd, &e, 1, 3000) == 1 && e.data.u64 == 78 && read(ends[0], text, 1) == 1); }
static void pidfd_self_set(void) { if ((fd = syscall(SYS_pidfd_open, getpid(), 0)) < 0) absent("pidfd"); }
static void pidfd_self_use(void) { CHECK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0); }
static void pidfd_dead_set(void) { pid_t p = fork(); if (!p) _exit(0); if ((fd = syscall(SYS_pidfd_open, p, 0)) < 0) absent("pidfd"); CHECK(waitpid(p, NULL, 0) == p); }
static void pidfd_dead_use(void) { CHECK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == -1 && errno == ESRCH); }
static pthread_t helper;
static pid_t helper_tid;
static void *help(void *unused) { helper_tid = syscall(SYS_gettid); for (;;) pause(); return unused; }
static void pidfd_thread_set(void) { CHECK(!pthread_create(&helper, NULL, help, NULL)); while (!helper_tid) usleep(1000); if ((fd = syscall(SYS_pidfd_open, helper_tid, O_EXCL)) < 0) absent("PIDFD_THREAD"); }
static volatile sig_atomic_t told;
static void tell(int n) { told = n; }
static void dnotify_set(void) { signal(SIGIO, tell); CHECK(opened(".", O_RDONLY | O_DIRECTORY) >= 0); if (fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT)) absent("dnotify"); }
static void dnotify_use(void) { told = 0; snprintf(text, 99, "new-%ld", random()); close(open(text, O_CREAT | O_RDWR, 0600)); for (int i = 0; i < 100 && !told; i++) usleep(1000); CHECK(told == SIGIO); }
static void async_set(void) { signal(SIGIO, tell); CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && fcntl(ends[0], F_SETOWN, getpid()) == 0 && fcntl(ends[0], F_SETFL, O_ASYNC) == 0); }
static void async_use(void) { told = 0; CHECK(write(ends[1], "x", 1) == 1); for (int i = 0; i < 100 && !told; i++) usleep(1000); CHECK(told == SIGIO); CHECK(read(ends[0], text, 1) == 1); }

#define KEEPS(name, set, use) {name, set, nothing, use}
static void nothing(void) {}
const struct object kernelfiles[] = {
	KEEPS("net-namespace-file", own_netns_set, netns_use), KEEPS("mount-namespace-file", own_mntns_set, mntns_use), KEEPS("pid-namespace-file", own_pidns_set, pidns_use),
	KEEPS("proc-other", proc_other_set, readable_use), KEEPS("proc-other-directory", proc_other_dir_set, proc_other_dir_use), KEEPS("proc", proc_set, readable_use), KEEPS("proc-directory", proc_dir_set, proc_dir_use), KEEPS("proc-mountinfo", proc_mountinfo_set, readable_use),
	KEEPS("sys", sys_set, readable_use), KEEPS("cgroup-file", cgroup_set, readable_use),
	KEEPS("kmsg", kmsg_set, kmsg_use), KEEPS("tty0", tty0_set, there_use), KEEPS("console", console_set, there_use), KEEPS("block-device", block_set, there_use), KEEPS("kvm", kvm_set, there_use), KEEPS("virtual-machine", machine_set, there_use), KEEPS("tunnel", tunnel_set, tunnel_use), KEEPS("tunnel-idle", tunnel_idle_set, there_use),
	KEEPS("bpf-map", bpf_map_set, bpf_map_use), KEEPS("seccomp-listener", notifier_set, there_use), KEEPS("file-context", file_context_set, there_use), KEEPS("detached-mount", detached_mount_set, directory_at_use),
	KEEPS("o-path-link", path_link_set, path_link_use), KEEPS("o-path-socket", path_socket_set, path_socket_use), KEEPS("o-path-fifo", path_fifo_set, path_fifo_use), KEEPS("o-path-device", path_device_set, path_device_use),
	KEEPS("deleted-directory", gone_directory_set, gone_directory_use), KEEPS("deleted-fifo", gone_fifo_set, gone_fifo_use), {"directory-position", directory_position_set, directory_position_check}, KEEPS("o-direct", direct_set, direct_use), {"tmpfs-file", tmpfs_set, tmpfs_check, tmpfs_use},
	KEEPS("inotify-proc", watch_proc_set, watch_proc_use), KEEPS("inotify-sys", watch_sys_set, watch_sys_use), KEEPS("inotify-cgroup", watch_cgroup_set, watch_cgroup_use), KEEPS("inotify-deleted", watch_deleted_set, watch_deleted_use),
	KEEPS("fanotify-mount", fanotify_mount_set, fanotify_use), KEEPS("fanotify-file-system", fanotify_fs_set, fanotify_use),
	KEEPS("epoll-duplicate", epoll_dup_set, epoll_use), KEEPS("epoll-oneshot", epoll_oneshot_set, epoll_oneshot_use), KEEPS("epoll-nested", epoll_nested_set, epoll_nested_use),
	KEEPS("pidfd-self", pidfd_self_set, pidfd_self_use), KEEPS("pidfd-dead", pidfd_dead_set, pidfd_dead_use), KEEPS("pidfd-thread", pidfd_thread_set, pidfd_self_use), KEEPS("dnotify", dnotify_set, dnotify_use), KEEPS("async-socket", async_set, async_use), {0},
};
