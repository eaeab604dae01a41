#include "objects.h"
#include <netinet/in.h>
#include <linux/tcp.h>

// Each line of the file "options" makes a socket or takes the one before, sets an
// option of it, and names an option that all sockets are asked for before and after
// the sleep: new family type protocol level number value, the value in hexadecimal.
struct row {
	int family, type, protocol, level, number, size, fd;
	unsigned char value[64];
};
static struct row rows[700];
static struct {
	int size;
	unsigned char value[64];
} before[700][700];
static int count;
static char said[1 << 16];

// isNew reports whether no row before has the same option.
static int isNew(int j) {
	for (int i = 0; i < j; i++)
		if (rows[i].level == rows[j].level && rows[i].number == rows[j].number) return 0;
	return 1;
}
static int get(int i, int j, unsigned char *value) {
	socklen_t n = 64;
	memset(value, 0, 64);
	if (getsockopt(rows[i].fd, rows[j].level, rows[j].number, value, &n)) return -errno;
	return n;
}
static void options_set(void) {
	char hex[256];
	FILE *f = fopen("options", "r"), *skipped = fopen("skipped", "w");
	CHECK(f && skipped);
	int new, last = -1, absent = 0;
	while (fscanf(f, "%d %d %d %d %d %d %255s", &new, &rows[count].family, &rows[count].type, &rows[count].protocol, &rows[count].level, &rows[count].number, hex) == 7) {
		struct row *r = &rows[count];
		unsigned n = 0, bytes = strlen(hex) / 2;
		for (r->size = 0; r->size < (int)bytes; r->size++) {
			CHECK(sscanf(hex + 2 * r->size, "%2x", &n) == 1);
			r->value[r->size] = n;
		}
		if ((r->fd = new ? socket(r->family, r->type, r->protocol) : dup(last)) >= 0 && new) last = r->fd;
		if (r->fd < 0 || setsockopt(r->fd, r->level, r->number, r->value, r->size)) {
			fprintf(skipped, "%d %d %d %d %d %s\n", r->family, r->type, r->protocol, r->level, r->number, strerror(errno));
			absent++; // does not fit the socket, or this kernel lacks it
			continue;
		}
		if (r->type == SOCK_STREAM && (r->level != IPPROTO_TCP || r->number != TCP_FASTOPEN_CONNECT)) listen(r->fd, 8); // where it has a name or gets a port
		count++;
	}
	fclose(f), fclose(skipped);
	CHECK(absent < 80);
	for (int i = 0; i < count; i++)
		for (int j = 0; j < count; j++)
			if (isNew(j)) before[i][j].size = get(i, j, before[i][j].value);
}
static void options_check(void) {
	unsigned char value[64];
	size_t at = 0;
	for (int i = 0; i < count; i++)
		for (int j = 0; j < count; j++) {
			if (!isNew(j)) continue;
			int size = get(i, j, value);
			if (at < sizeof said - 300 && (size != before[i][j].size || memcmp(value, before[i][j].value, 64)))
				at += sprintf(said + at, "; socket %d/%d/%d with %d/%d: %d/%d was %d:%02x%02x%02x%02x is %d:%02x%02x%02x%02x", rows[i].family, rows[i].type, rows[i].protocol, rows[i].level, rows[i].number, rows[j].level,
					      rows[j].number, before[i][j].size, before[i][j].value[0], before[i][j].value[1], before[i][j].value[2], before[i][j].value[3], size, value[0], value[1], value[2], value[3]);
		}
	if (at) fail(said + 2, __FILE__, __LINE__);
}

const struct object options[] = {{"socket-settings", options_set, options_check}, {0}};
