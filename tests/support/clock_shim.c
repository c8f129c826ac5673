/* A wall clock that can be set for one program and its children, by a file, without changing the machine's.
 *
 * Loaded by LD_PRELOAD. The file named by CLOCK_OFFSET_FILE holds two int64: nanoseconds to add to CLOCK_REALTIME, and
 * to CLOCK_BOOTTIME, as if the system had been suspended. The monotonic clock, and times that the kernel writes (of files), are not changed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t nothing[2];
static volatile int64_t *offset = nothing;

__attribute__((constructor)) static void open_offset(void) {
    const char *path = getenv("CLOCK_OFFSET_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *page = mmap(NULL, sizeof nothing, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED)
        offset = page;
    close(fd);
}

static void add(struct timespec *now, int64_t offset_ns) {
    int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + offset_ns;
    now->tv_sec = ns / 1000000000 - (ns % 1000000000 < 0); /* before 1970, too, tv_nsec is not negative */
    now->tv_nsec = ns - (int64_t)now->tv_sec * 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        add(now, offset[0]);
    else if (!failed && clock == CLOCK_BOOTTIME)
        add(now, offset[1]);
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *seconds) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (seconds)
        *seconds = now.tv_sec;
    return now.tv_sec;
}
