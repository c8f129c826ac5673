/* A stand-in for a device of LinuxPPS (/dev/pps0), as drivers/pps/pps.c of Linux answers its calls.
 *
 * Loaded by LD_PRELOAD. A file named by PPS_DEVICE is the device. PPS_PULSES is a file of text: each line the CLOCK_MONOTONIC
 * time of an event in ns, and its edge: "assert" or "clear". Events are stamped by CLOCK_REALTIME at their time, as the kernel
 * does. PPS_CAN and PPS_MODE are what the device can capture, and what is switched on; PPS_GONE is a file at whose
 * existence the device is gone. Like the kernel's, PPS_FETCH waits for the next event of either edge, and PPS_SETPARAMS
 * needs a privilege. The structures are those of the kernel's own header.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/pps.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static int is_device(int fd) {
    const char *path = getenv("PPS_DEVICE");
    struct stat device, given;
    return path && !stat(path, &device) && !fstat(fd, &given) && device.st_ino == given.st_ino &&
           device.st_dev == given.st_dev;
}

static long long now_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static struct pps_kinfo info;
static long long stamped_until_ns;

/* Stamp the events until now; returns how many there were. */
static int stamp_events(void) {
    int n = 0;
    long long at_ns, until_ns = now_ns(CLOCK_MONOTONIC);
    char edge[16];
    const char *path = getenv("PPS_PULSES");
    FILE *events = path ? fopen(path, "r") : NULL;
    while (events && fscanf(events, "%lld %15s", &at_ns, edge) == 2) {
        if (at_ns <= stamped_until_ns || at_ns > until_ns)
            continue;
        long long stamp_ns = now_ns(CLOCK_REALTIME) - (now_ns(CLOCK_MONOTONIC) - at_ns);
        struct pps_ktime *time = edge[0] == 'a' ? &info.assert_tu : &info.clear_tu;
        if (edge[0] == 'a' ? !(number("PPS_MODE", 1) & PPS_CAPTUREASSERT) : !(number("PPS_MODE", 1) & PPS_CAPTURECLEAR))
            continue;
        time->sec = stamp_ns / 1000000000;
        time->nsec = stamp_ns % 1000000000;
        edge[0] == 'a' ? info.assert_sequence++ : info.clear_sequence++;
        n++;
    }
    if (events)
        fclose(events);
    stamped_until_ns = until_ns;
    return n;
}

static int fetch(struct pps_fdata *data) {
    long long end_ns = now_ns(CLOCK_MONOTONIC) + data->timeout.sec * 1000000000LL + data->timeout.nsec;
    if (!stamped_until_ns)
        stamped_until_ns = now_ns(CLOCK_MONOTONIC);
    stamp_events();
    while (!stamp_events()) {
        const char *gone = getenv("PPS_GONE");
        if (gone && !access(gone, F_OK)) {
            errno = ENODEV;
            return -1;
        }
        if (!(data->timeout.flags & PPS_TIME_INVALID) && now_ns(CLOCK_MONOTONIC) > end_ns) {
            errno = ETIMEDOUT;
            return -1;
        }
        usleep(200);
    }
    info.current_mode = number("PPS_MODE", 1);
    data->info = info;
    return 0;
}

int ioctl(int fd, unsigned long request, ...) {
    static int (*real)(int, unsigned long, ...);
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (!real)
        real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    if (_IOC_TYPE(request) != 'p' || !is_device(fd)) /* others are answered before the driver */
        return real(fd, request, argument);
    request = (unsigned int)request;
    if (request == PPS_GETCAP) {
        *(int *)argument = number("PPS_CAN", PPS_CAPTUREBOTH | PPS_CANWAIT | PPS_TSFMT_TSPEC);
        return 0;
    }
    if (request == PPS_GETPARAMS) {
        struct pps_kparams params = {.api_version = PPS_API_VERS, .mode = number("PPS_MODE", 1)};
        memcpy(argument, &params, sizeof params);
        return 0;
    }
    if (request == PPS_SETPARAMS) {
        errno = EPERM;
        return -1;
    }
    if (request == PPS_FETCH)
        return fetch(argument);
    errno = ENOTTY;
    return -1;
}
