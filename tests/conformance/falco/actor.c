/* Acts out a declared attack: a chain of processes with given names, users and arguments, the last of which makes system calls.
 *
 * What to do stands in the environment variable PLAN, one directive a line, its words separated by \x1f:
 *   spawn FILE ARG0 ARG...   a child executes FILE with the rest of the plan; wait for it
 *   memfd ARG0 ARG...        the same, with this program's own bytes executed from an anonymous file
 *   user UID GID             become that user, keeping all capabilities (before a spawn)
 *   wait                     until a byte comes on standard input
 *   serve FAMILY PORT        listen on the loopback address and connect to it: `$client` is that descriptor
 *   call NUMBER ARG...       a system call; an argument is a number, `$client`, text after `s:`, or bytes in hexadecimal after `h:`
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int client = -1;

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(9);
}

static void become(int uid, int gid)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS))
		fail("securebits");
	if (setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		fail("setresuid");
	if (syscall(SYS_capget, &header, data))
		fail("capget");
	for (int word = 0; word < 2; word++)
		data[word].inheritable = data[word].effective = data[word].permitted;
	if (syscall(SYS_capset, &header, data))
		fail("capset");
	for (int cap = 0; cap < 64; cap++)
		if (data[cap / 32].permitted >> (cap % 32) & 1)
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}

static void serve(int family, int port)
{
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr *address = family == 6 ? (void *)&six : (void *)&four;
	socklen_t size = family == 6 ? sizeof(six) : sizeof(four);
	struct ifreq lo = { .ifr_name = "lo" };
	int server = socket(address->sa_family, SOCK_STREAM, 0);

	if (ioctl(server, SIOCGIFFLAGS, &lo) == 0 && !(lo.ifr_flags & IFF_UP)) {
		lo.ifr_flags |= IFF_UP;
		ioctl(server, SIOCSIFFLAGS, &lo);
	}
	if (bind(server, address, size) || listen(server, 1))
		fail("listen");
	client = socket(address->sa_family, SOCK_STREAM, 0);
	if (connect(client, address, size))
		fail("connect");
}

static long argument(char *text)
{
	if (!strcmp(text, "$client"))
		return client;
	if (!strncmp(text, "h:", 2)) {
		unsigned char *bytes = calloc(1, strlen(text));
		for (int at = 0; text[2 + 2 * at]; at++)
			sscanf(text + 2 + 2 * at, "%2hhx", &bytes[at]);
		return (long)bytes;
	}
	return strncmp(text, "s:", 2) ? strtol(text, 0, 0) : (long)(text + 2);
}

static int open_copy_in_memory(void)
{
	char data[65536];
	int from = open("/proc/self/exe", O_RDONLY), to = memfd_create("copy", 0);
	long size;

	while ((size = read(from, data, sizeof(data))) > 0)
		if (write(to, data, size) != size)
			fail("memfd");
	close(from);
	return to;
}

static int start(char **words, int in_memory)
{
	int status = 0, file = in_memory ? open_copy_in_memory() : -1;
	pid_t child = fork();

	if (!child) {
		if (in_memory)
			fexecve(file, words + 1, environ);
		else
			execv(words[1], words + 2);
		fail(words[1]);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 8;
}

int main(void)
{
	char *plan = strdup(getenv("PLAN"));

	while (plan && *plan) {
		char *words[40] = { 0 }, *next = strchr(plan, '\n'), *save = 0;
		int count = 0;

		if (next)
			*next++ = 0;
		for (char *word = strtok_r(plan, "\x1f", &save); word && count < 39; word = strtok_r(0, "\x1f", &save))
			words[count++] = word;
		plan = next;
		if (!strcmp(words[0], "spawn") || !strcmp(words[0], "memfd")) {
			setenv("PLAN", plan ? plan : "", 1);
			return start(words, words[0][0] == 'm');
		} else if (!strcmp(words[0], "user")) {
			become(atoi(words[1]), atoi(words[2]));
		} else if (!strcmp(words[0], "wait")) {
			char byte;
			if (read(0, &byte, 1) < 0)
				fail("wait");
		} else if (!strcmp(words[0], "serve")) {
			serve(atoi(words[1]), atoi(words[2]));
		} else if (!strcmp(words[0], "call")) {
			long a[6] = { 0 };
			for (int at = 2; at < count && at < 8; at++)
				a[at - 2] = argument(words[at]);
			if (syscall(atol(words[1]), a[0], a[1], a[2], a[3], a[4], a[5]) < 0)
				fail("call");
		}
	}
	return 0;
}
