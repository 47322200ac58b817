/* Acts whose price is measured, each as the least of many short batches: other work on the machine only ever adds.
 * Waits for a line, so that it acts only where it was put; prints nanoseconds per act. */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char buffer[512];
static int file;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void ask(void) { syscall(SYS_getppid); }
static void take(void) { pread(file, buffer, sizeof(buffer), 0); }
static void look(void) { close(open("/usr/lib/os-release", O_RDONLY)); }
static void spawn(void)
{
	char *words[] = { "true", 0 };
	pid_t pid;

	posix_spawn(&pid, "/bin/true", 0, 0, words, words + 1);
	waitpid(pid, 0, 0);
}

/* Asks for a file of interest, which is refused: by one of 65,536 names, or by its own. */
static void judged(long number)
{
	char path[64] = "/etc/", *at = path + 5;

	for (int bit = 0; number && bit < 16; bit++)
		*at++ = number >> bit & 1 ? '.' : '/', *at++ = '/';
	memcpy(at, "shadow", 7);
	open(path, O_RDONLY);
}

static double least(void (*act)(void), int count, int batches)
{
	double best = 1e18;

	for (int batch = 0; batch < batches; batch++) {
		double began = now(), each;

		for (int i = 0; i < count; i++)
			act();
		each = (now() - began) / count;
		best = each < best ? each : best;
	}
	return best;
}

int main(int count, char **words)
{
	char line[8];

	read(0, line, sizeof(line));
	if (count > 1) { /* flood: so many calls as fast as they go for a second, then how much processor and time they took */
		double began = now();
		long calls = 0;

		if (words[1][0] != 'g')
			setuid(65534);
		while (now() - began < 1e9)
			for (int i = 0; i < 1000; i++, calls++)
				words[1][0] == 'g' ? ask() : judged(words[1][0] == 'd' ? calls + 1 : 0);
		printf("%ld %ld %.0f\n", calls, clock() * (1000000000 / CLOCKS_PER_SEC), now() - began);
		return 0;
	}
	file = open("/bin/true", O_RDONLY);
	printf("{\"getppid\": %f, ", least(ask, 500, 1000));
	printf("\"read\": %f, ", least(take, 500, 600));
	printf("\"open+close\": %f, ", least(look, 40, 1500));
	printf("\"spawn\": %f}\n", least(spawn, 1, 150));
	return 0;
}
