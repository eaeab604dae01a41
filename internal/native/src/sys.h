/*
 * What the programs here have instead of a libc: system calls, an entry that
 * hands the initial stack to run, and an exit.
 */
#include <asm/unistd.h>

typedef unsigned long word;

#define AT_FDCWD -100

#if defined(__x86_64__)
static long sys(long n, word a, word b, word c, word d)
{
	long ret;
	register word r10 __asm__("r10") = d;
	__asm__ volatile("syscall" : "=a"(ret) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return ret;
}
/* The kernel enters with the stack pointer at argc; hand it to run. */
__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %rsp,%rdi\n\tand $-16,%rsp\n\tcall run\n");
#elif defined(__aarch64__)
static long sys(long n, word a, word b, word c, word d)
{
	register word x8 __asm__("x8") = n;
	register word x0 __asm__("x0") = a;
	register word x1 __asm__("x1") = b;
	register word x2 __asm__("x2") = c;
	register word x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x29,#0\n\tmov x0,sp\n\tbl run\n");
#else
#error "these programs know x86_64 and aarch64 only"
#endif

/* The kernel's initial stack: argc, argv, NULL, envp, NULL. */
void run(word *stack) __attribute__((used, noreturn));

__attribute__((noreturn)) static void leave(int status)
{
	for (;;)
		sys(__NR_exit_group, status, 0, 0, 0);
}
