/* Preloaded library: lets chosen calls on chosen files fail, kill the process, or be slow.

   The file named by IOFAULT_CONTROL is mapped (see `struct control`): a test maps it too, sets the fault at any time,
   and reads the number and kinds of the calls, also after the death of the process. Only files count whose path
   contains the text IOFAULT_MARK. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum kind { OPEN, WRITE, ALLOCATE, TRUNCATE, SYNC, RENAME, RENAMEAT2, LINK, UNLINK, MKDIR, LOCK, CLOSE };
enum { KILL = -1, HALF = -2, STOP = -3 }; /* instead of an errno; HALF: write half of it, then kill */

struct control {
    int64_t kinds;       /* bit n: calls of kind n count */
    int64_t first, last; /* from which call to which one, counted from 1, the fault comes */
    int64_t what;        /* an errno, KILL, HALF, STOP, or 0 */
    int64_t delay_us;    /* additional duration of each */
    int64_t without;     /* bit n: calls of kind n are not supported, fail with ENOSYS, and do not count */
    int64_t n;           /* calls so far */
    uint8_t log[65536];  /* the kind of each */
};

static struct control *control;
static const char *mark;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("IOFAULT_CONTROL");
    mark = getenv("IOFAULT_MARK");
    int (*really)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int fd = path && mark ? really(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *memory = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int (*shut)(int) = dlsym(RTLD_NEXT, "close");
    shut(fd);
    if (memory != MAP_FAILED) control = memory;
}

/* The fault of the next call on `path`: 0 if there is none. */
static int64_t fault_at(enum kind kind, const char *path) {
    if (!control || !path || !strstr(path, mark)) return 0;
    if (control->without >> kind & 1) return errno = ENOSYS;
    if (!(control->kinds >> kind & 1)) return 0;
    int64_t n = __atomic_add_fetch(&control->n, 1, __ATOMIC_SEQ_CST);
    if (n <= (int64_t)sizeof control->log) control->log[n - 1] = kind;
    if (n < control->first || n > control->last) return 0;
    if (control->delay_us) {
        struct timespec pause = {control->delay_us / 1000000, control->delay_us % 1000000 * 1000};
        nanosleep(&pause, NULL);
    }
    if (control->what == KILL) kill(getpid(), SIGKILL);
    if (control->what == STOP) kill(getpid(), SIGSTOP);
    if (control->what > 0) errno = control->what;
    return control->what;
}

static int64_t fault_on(enum kind kind, int fd) {
    char link[64], path[PATH_MAX];
    if (!control || !((control->kinds | control->without) >> kind & 1)) return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    errno = before;
    if (n < 0) return 0;
    path[n] = 0;
    return fault_at(kind, path);
}

#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        static int (*really)(const char *, int, ...); \
        if (!really) really = dlsym(RTLD_NEXT, #name); \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        return fault_at(OPEN, path) > 0 ? -1 : really(path, flags, mode); \
    }
#define OPENING_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        static int (*really)(int, const char *, int, ...); \
        if (!really) really = dlsym(RTLD_NEXT, #name); \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
        return fault_at(OPEN, path) > 0 ? -1 : really(folder, path, flags, mode); \
    }
#define ON_PATH(kind, name, parameters, path, arguments) \
    int name parameters { \
        static int (*really) parameters; \
        if (!really) really = dlsym(RTLD_NEXT, #name); \
        return fault_at(kind, path) > 0 ? -1 : really arguments; \
    }
#define ON_FILE(kind, name, parameters, arguments) \
    int name parameters { \
        static int (*really) parameters; \
        if (!really) really = dlsym(RTLD_NEXT, #name); \
        return fault_on(kind, fd) > 0 ? -1 : really arguments; \
    }
#define HALF_OF(n) ((n) / 2 / 4096 * 4096) /* whole pages: within one, no kill tears a write */
#define WRITING(name, parameters, whole, half) \
    ssize_t name parameters { \
        static ssize_t (*really) parameters; \
        if (!really) really = dlsym(RTLD_NEXT, #name); \
        int64_t fault = fault_on(WRITE, fd); \
        if (fault == HALF) { really half; kill(getpid(), SIGKILL); } \
        return fault > 0 ? -1 : really whole; \
    }

OPENING(open)
OPENING(open64)
OPENING_AT(openat)
OPENING_AT(openat64)
WRITING(write, (int fd, const void *data, size_t n), (fd, data, n), (fd, data, HALF_OF(n)))
WRITING(pwrite, (int fd, const void *data, size_t n, off_t at), (fd, data, n, at), (fd, data, HALF_OF(n), at))
WRITING(pwrite64, (int fd, const void *data, size_t n, off64_t at), (fd, data, n, at),
        (fd, data, HALF_OF(n), at))
ON_FILE(ALLOCATE, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))
ON_FILE(ALLOCATE, fallocate64, (int fd, int mode, off64_t at, off64_t n), (fd, mode, at, n))
ON_FILE(TRUNCATE, ftruncate, (int fd, off_t n), (fd, n))
ON_FILE(TRUNCATE, ftruncate64, (int fd, off64_t n), (fd, n))
ON_FILE(SYNC, fsync, (int fd), (fd))
ON_FILE(SYNC, fdatasync, (int fd), (fd))
ON_FILE(LOCK, flock, (int fd, int how), (fd, how))
ON_PATH(RENAME, rename, (const char *from, const char *to), to, (from, to))
ON_PATH(RENAMEAT2, renameat2, (int from_folder, const char *from, int to_folder, const char *to, unsigned flags), to,
        (from_folder, from, to_folder, to, flags))
ON_PATH(LINK, link, (const char *from, const char *to), to, (from, to))
ON_PATH(LINK, linkat, (int from_folder, const char *from, int to_folder, const char *to, int flags), to,
        (from_folder, from, to_folder, to, flags))
ON_PATH(UNLINK, unlink, (const char *path), path, (path))
ON_PATH(UNLINK, unlinkat, (int folder, const char *path, int flags), path, (folder, path, flags))
ON_PATH(MKDIR, mkdir, (const char *path, mode_t mode), path, (path, mode))
ON_PATH(MKDIR, mkdirat, (int folder, const char *path, mode_t mode), path, (folder, path, mode))

int close(int fd) {
    static int (*really)(int);
    if (!really) really = dlsym(RTLD_NEXT, "close");
    int64_t fault = fault_on(CLOSE, fd);
    int done = really(fd); /* also where it fails, as Linux does */
    if (fault <= 0) return done;
    errno = (int)fault;
    return -1;
}
