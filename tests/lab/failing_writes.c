/* Stands before libc's write calls (LD_PRELOAD) and fails one of those that go to a journal.
 *
 * Counted are pwrite, write, ftruncate, fsync and fdatasync on files named journal.db*, in all threads.
 * WRITES_FAIL_AT: which fails, from 1; WRITES_ONWARD=1: so do all after it; WRITES_ERRNO: how.
 * WRITES_TRIGGER: a file; while it is there, all fail.
 * WRITES_TRACE: a file that gets a line for each: number, name, where the write ends, path.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long count;

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

static int fails(int fd, const char *name, long end) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    const char *base = strrchr(path, '/');
    if (!base || strncmp(base, "/journal.db", 11))
        return 0;
    pthread_mutex_lock(&lock);
    long now = ++count, at = number("WRITES_FAIL_AT");
    const char *trace = getenv("WRITES_TRACE");
    if (trace) {
        int out = open(trace, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (out >= 0) {
            dprintf(out, "%ld %s %ld %s\n", now, name, end, path);
            close(out);
        }
    }
    pthread_mutex_unlock(&lock);
    const char *trigger = getenv("WRITES_TRIGGER");
    if ((trigger && !access(trigger, F_OK)) || (at && (now == at || (now > at && number("WRITES_ONWARD"))))) {
        errno = (int)number("WRITES_ERRNO");
        return 1;
    }
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return fails(fd, "write", at + (long)size) ? -1 : REAL(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return fails(fd, "write", at + (long)size) ? -1 : REAL(pwrite64)(fd, data, size, at);
}
int ftruncate(int fd, off_t size) { return fails(fd, "truncate", size) ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) {
    return fails(fd, "truncate", size) ? -1 : REAL(ftruncate64)(fd, size);
}
int fsync(int fd) { return fails(fd, "sync", 0) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails(fd, "sync", 0) ? -1 : REAL(fdatasync)(fd); }
