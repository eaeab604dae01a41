#include "objects.h"

void fail(const char *what, const char *file, int at) {
	printf("not so: %s (%s:%d, %s)\n", what, file, at, strerror(errno));
	fflush(stdout);
	_exit(1);
}

void absent(const char *why) {
	printf("absent: %s: %s\n", why, strerror(errno));
	fflush(stdout);
	_exit(0);
}

// ends are those of pipes between other processes: a kid that kept them would
// hold them open, and hundreds of kids tens of thousands.
static int ends[1024], held;

struct kid kid(void (*begin)(void), int (*answer)(int)) {
	int there[2], back[2];
	CHECK(pipe(there) == 0 && pipe(back) == 0);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (pid > 0) {
		struct kid k = {pid, there[1], back[0]};
		char c = 0;
		close(there[0]), close(back[1]);
		ends[held++] = k.to, ends[held++] = k.from;
		CHECK(read(k.from, &c, 1) == 1 && c == 'r');
		return k;
	}
	close(there[1]), close(back[0]);
	while (held) close(ends[--held]);
	ends[held++] = there[0], ends[held++] = back[1];
	if (begin) begin();
	char c = 'r';
	do {
		if (c != 'r') c = answer(c);
		if (write(back[1], &c, 1) != 1) _exit(1);
	} while (read(there[0], &c, 1) == 1);
	_exit(0);
}

int ask(struct kid *k, int c) {
	unsigned char b = c;
	CHECK(write(k->to, &b, 1) == 1);
	CHECK(read(k->from, &b, 1) == 1);
	return b;
}

int plus(int c) { return c + 1; }

const char *line(const char *path, const char *key) {
	static char text[8][256];
	static int turn;
	char *got = text[turn = (turn + 1) % 8];
	FILE *f = fopen(path, "r");
	CHECK(f);
	while (fgets(got, 256, f))
		if (!strncmp(got, key, strlen(key))) break;
		else *got = 0;
	fclose(f);
	return got;
}

const char *flags(const void *p) {
	static char text[8][256];
	static int turn;
	char *got = text[turn = (turn + 1) % 8], begin[32];
	int within = 0;
	snprintf(begin, sizeof begin, "%lx-", (unsigned long)p);
	FILE *f = fopen("/proc/self/smaps", "r");
	CHECK(f);
	while (fgets(got, 256, f)) {
		if (!strncmp(got, begin, strlen(begin))) within = 1;
		if (within && !strncmp(got, "VmFlags:", 8)) break;
		*got = 0;
	}
	fclose(f);
	return got;
}

static const struct object *const all[] = {files, memory, processes, sockets, rights, times, options, kernelfiles, threads, othersockets, mappings, NULL};

static const struct object *find(const char *name) {
	for (int i = 0; all[i]; i++)
		for (const struct object *o = all[i]; o->name; o++)
			if (!strcmp(o->name, name)) return o;
	return NULL;
}

static void list(void) {
	for (int i = 0; all[i]; i++)
		for (const struct object *o = all[i]; o->name; o++) puts(o->name);
}

int main(int argc, char **argv) {
	char word[16];
	if (argc == 1) return list(), 0;
	const struct object *o = find(argv[1]);
	if (!o) return 2;
	o->set();
	if (o->use) o->use();
	puts("ready"), fflush(stdout);
	while (fgets(word, sizeof word, stdin)) {
		if (o->use) o->use();
		if (!strcmp(word, "check\n")) o->check();
		puts("ok"), fflush(stdout);
	}
	return 1;
}
