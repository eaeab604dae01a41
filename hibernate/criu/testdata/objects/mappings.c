// Mappings of rarer kinds.
#include "objects.h"
#include <linux/mman.h>
#include <sys/prctl.h>

static char *area;
static const char *before;
static int fd;
static void nothing(void) {}
static char *map_at(size_t n, int protection, int how, int from) { char *p = mmap(NULL, n, protection, how, from, 0); return p == MAP_FAILED ? NULL : p; }
static void keep(void) { strcpy(area, "kept"), before = strdup(flags(area)); }
static void kept_use(void) { CHECK(!strcmp(area, "kept")); CHECK(!strcmp(flags(area), before)); area[100]++; }
static void anon_with(int how) { if (!(area = map_at(4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | how, -1))) absent("mmap"); keep(); }
static void advised(int what) { anon_with(0); if (madvise(area, 4096, what)) absent("madvise"); keep(); }
static void nohuge_set(void) { advised(MADV_NOHUGEPAGE); }
static void random_set(void) { advised(MADV_RANDOM); }
static void sequential_set(void) { advised(MADV_SEQUENTIAL); }
static void noreserve_set(void) { anon_with(MAP_NORESERVE); }
static void onfault_set(void) { anon_with(0); if (mlock2(area, 4096, MLOCK_ONFAULT)) absent("mlock2"); keep(); }
static void huge_set(void) { if (!(area = map_at(2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1))) absent("hugetlb pages"); keep(); }
static void huge_shared_set(void) { if (!(area = map_at(2 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1))) absent("hugetlb pages"); keep(); }
static void memfd_huge_set(void) { if ((fd = memfd_create("huge", MFD_HUGETLB)) < 0 || ftruncate(fd, 2 << 20) || !(area = map_at(2 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd))) absent("hugetlb pages"); keep(); }
static void secret_set(void) { if ((fd = syscall(447, 0)) < 0 || ftruncate(fd, 4096) || !(area = map_at(4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd))) absent("memfd_secret"); keep(); }
static void secret_mapped_set(void) { secret_set(), close(fd); }
static void memfd_sealed_set(void) { if ((fd = memfd_create("m", MFD_ALLOW_SEALING | 8 /* MFD_NOEXEC_SEAL */)) < 0) absent("MFD_NOEXEC_SEAL"); CHECK(ftruncate(fd, 4096) == 0); }
static void memfd_sealed_use(void) { struct stat st; CHECK(fcntl(fd, F_GET_SEALS) == 0x20 && fstat(fd, &st) == 0 && !(st.st_mode & 0111)); }
static void droppable_set(void) { if (!(area = map_at(4096, PROT_READ | PROT_WRITE, 0x08 /* MAP_DROPPABLE */ | MAP_ANONYMOUS, -1))) absent("MAP_DROPPABLE"); strcpy(area, "kept"); }
static void droppable_use(void) { CHECK(strstr(flags(area), " dp")); area[0] = 1; }
static void bind_set(void) { unsigned long nodes = 1; anon_with(0); if (syscall(SYS_mbind, area, 4096, 2 /* MPOL_BIND */, &nodes, 64, 0)) absent("mbind"); }
static void bind_use(void) { int mode = 0; CHECK(syscall(SYS_get_mempolicy, &mode, NULL, 0, area, 2 /* MPOL_F_ADDR */) == 0 && mode == 2); }
static void gone_set(void) { CHECK((fd = open("gone", O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fd, 4096) == 0 && (area = map_at(4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd)) && close(fd) == 0 && unlink("gone") == 0); keep(); }
static void memfd_closed_set(void) { CHECK((fd = memfd_create("m", 0)) >= 0 && ftruncate(fd, 4096) == 0 && (area = map_at(4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd)) && close(fd) == 0); keep(); }
static void zero_set(void) { CHECK((fd = open("/dev/zero", O_RDWR)) >= 0 && (area = map_at(4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd)) && close(fd) == 0); keep(); }
static void zero_private_set(void) { CHECK((fd = open("/dev/zero", O_RDWR)) >= 0 && (area = map_at(4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd)) && close(fd) == 0); keep(); }
static void shrunk_set(void) { CHECK((fd = open("shrunk", O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fd, 8192) == 0 && (area = map_at(8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd)) && ftruncate(fd, 4096) == 0); keep(); }
static void exec_only_set(void) { CHECK((area = map_at(4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1))); memcpy(area, "\xb8\x2a\0\0\0\xc3", 6); CHECK(mprotect(area, 4096, PROT_EXEC) == 0); }
static void exec_only_use(void) { CHECK(((int (*)(void))area)() == 42); }
static unsigned long context;
static void aio_busy_set(void) { if (syscall(SYS_io_setup, 8, &context)) absent("asynchronous I/O"); }
static void aio_busy_use(void) { char e[32]; struct timespec now = {0, 0}; CHECK(syscall(SYS_io_getevents, context, 0, 1, e, &now) == 0); }

static void vdso_set(void) {}
static void vdso_use(void) { struct timespec now; for (int i = 0; i < 1000; i++) CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0 && now.tv_sec > 0); }

#define KEEPS(name, set, use) {name, set, nothing, use}
const struct object mappings[] = {
	KEEPS("no-huge-pages", nohuge_set, kept_use), KEEPS("random-access", random_set, kept_use), KEEPS("sequential-access", sequential_set, kept_use), KEEPS("no-reserve", noreserve_set, kept_use), KEEPS("mlock-on-fault", onfault_set, kept_use),
	KEEPS("huge", huge_set, kept_use), KEEPS("huge-shared", huge_shared_set, kept_use), KEEPS("memfd-huge", memfd_huge_set, kept_use), KEEPS("secret-memory", secret_set, kept_use), KEEPS("secret-memory-mapped", secret_mapped_set, kept_use), KEEPS("memfd-no-exec", memfd_sealed_set, memfd_sealed_use),
	KEEPS("droppable", droppable_set, droppable_use), KEEPS("bound-memory", bind_set, bind_use), KEEPS("deleted-mapping", gone_set, kept_use), KEEPS("memfd-mapping", memfd_closed_set, kept_use),
	KEEPS("zero-shared", zero_set, kept_use), KEEPS("zero-private", zero_private_set, kept_use), KEEPS("shrunk-file", shrunk_set, kept_use), KEEPS("exec-only", exec_only_set, exec_only_use), KEEPS("vdso", vdso_set, vdso_use), KEEPS("aio-again", aio_busy_set, aio_busy_use), {0},
};
