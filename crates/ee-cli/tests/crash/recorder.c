/* Records what a process writes below one folder, and makes syncs fail when told.
 *
 * Preloaded into the server under test. RECORD_DIR names the folder, RECORD_LOG the log; a sync
 * fails with EIO while RECORD_LOG with ".fail-sync" behind it exists, a write with ENOSPC while the
 * one with ".fail-write" does, and a sync hangs while the one with ".hang-sync" does. A record is appended after the call that it is about has succeeded
 * and before that returns, under one lock: so the log's order is an order that happened, and
 * whatever a process answered because of a sync stands behind that sync.
 *
 * Record, little-endian: u8 what, u16 name length, u32 data length, u64 offset or size, name, data.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATED = 1, WRITTEN = 2, TRUNCATED = 3, SYNCED = 4, REMOVED = 5, FAILED = 6 };
enum { FDS = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static char folder[PATH_MAX], fail_sync[PATH_MAX], fail_write[PATH_MAX], hang_sync[PATH_MAX];
/* The name below the folder of each open file that is recorded; "." is the folder itself. */
static char *names[FDS];

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static int (*real_unlink)(const char *);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);

__attribute__((constructor)) static void begin(void) {
    real_open = dlsym(RTLD_NEXT, "open64");
    real_openat = dlsym(RTLD_NEXT, "openat64");
    real_close = dlsym(RTLD_NEXT, "close");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    const char *dir = getenv("RECORD_DIR"), *log = getenv("RECORD_LOG");
    if (!dir || !log || !realpath(dir, folder))
        return;
    snprintf(fail_sync, sizeof fail_sync, "%s.fail-sync", log);
    snprintf(fail_write, sizeof fail_write, "%s.fail-write", log);
    snprintf(hang_sync, sizeof hang_sync, "%s.hang-sync", log);
    log_fd = real_open(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
}

/* The name below the folder, or null. Shared memory and lock files hold nothing that lasts. */
static const char *watched(const char *path) {
    size_t length = strlen(folder);
    if (log_fd < 0 || strncmp(path, folder, length) != 0)
        return NULL;
    if (path[length] == 0)
        return ".";
    if (path[length] != '/' || strchr(path + length + 1, '/'))
        return NULL;
    const char *dash = strrchr(path, '-'), *lock_file = strrchr(path, '.');
    if ((dash && !strcmp(dash, "-shm")) || (lock_file && !strcmp(lock_file, ".lock")))
        return NULL;
    return path + length + 1;
}

static void record(uint8_t what, const char *name, uint64_t at, const void *data, uint32_t length) {
    uint8_t head[15];
    uint16_t name_length = (uint16_t)strlen(name);
    head[0] = what;
    memcpy(head + 1, &name_length, 2);
    memcpy(head + 3, &length, 4);
    memcpy(head + 7, &at, 8);
    struct iovec parts[3] = {
        {head, sizeof head}, {(void *)name, name_length}, {(void *)data, length}};
    if (writev(log_fd, parts, 3) != (ssize_t)(sizeof head + name_length + length))
        abort(); /* A log with a hole would prove nothing. */
}

static const char *name_of(int fd) {
    return fd >= 0 && fd < FDS ? names[fd] : NULL;
}

static int told_to(const char *trigger) {
    return access(trigger, F_OK) == 0;
}

static int opened(int fd, int fresh) {
    char link[64], path[PATH_MAX];
    if (fd < 0 || fd >= FDS || log_fd < 0)
        return fd;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return fd;
    path[length] = 0;
    const char *name = watched(path);
    if (!name)
        return fd;
    names[fd] = strdup(name);
    if (fresh)
        record(CREATED, name, 0, NULL, 0);
    return fd;
}

static int open_recorded(int at, const char *path, int flags, mode_t mode) {
    pthread_mutex_lock(&lock);
    struct stat there;
    int fresh = (flags & O_CREAT) && fstatat(at, path, &there, 0) != 0;
    int fd = opened(real_openat(at, path, flags, mode), fresh);
    if (fd >= 0 && (flags & O_TRUNC) && !fresh && name_of(fd))
        record(TRUNCATED, name_of(fd), 0, NULL, 0);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(flags)                                                                                \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                         \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    return open_recorded(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags)
    return open_recorded(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...) {
    MODE(flags)
    return open_recorded(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
    MODE(flags)
    return open_recorded(at, path, flags, mode);
}

int close(int fd) {
    pthread_mutex_lock(&lock);
    if (name_of(fd)) {
        free(names[fd]);
        names[fd] = NULL;
    }
    int outcome = real_close(fd);
    pthread_mutex_unlock(&lock);
    return outcome;
}

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    const char *name = watched(path);
    int outcome = real_unlink(path);
    if (outcome == 0 && name)
        record(REMOVED, name, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return outcome;
}

static ssize_t written(int fd, const void *data, size_t length, off_t at, int placed) {
    if (!name_of(fd))
        return placed ? real_pwrite(fd, data, length, at) : real_write(fd, data, length);
    if (told_to(fail_write)) {
        errno = ENOSPC;
        return -1;
    }
    pthread_mutex_lock(&lock);
    if (!placed)
        at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = placed ? real_pwrite(fd, data, length, at) : real_write(fd, data, length);
    if (done > 0)
        record(WRITTEN, name_of(fd), (uint64_t)at, data, (uint32_t)done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t length) {
    return written(fd, data, length, 0, 0);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    return written(fd, data, length, at, 1);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    return written(fd, data, length, at, 1);
}

static int truncated(int fd, off_t size) {
    if (!name_of(fd))
        return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    int outcome = real_ftruncate(fd, size);
    if (outcome == 0)
        record(TRUNCATED, name_of(fd), (uint64_t)size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return outcome;
}

int ftruncate(int fd, off_t size) {
    return truncated(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    return truncated(fd, size);
}

static int synced(int fd, int (*sync)(int)) {
    if (!name_of(fd))
        return sync(fd);
    while (told_to(hang_sync))
        usleep(5000);
    pthread_mutex_lock(&lock);
    int outcome = told_to(fail_sync) ? -1 : sync(fd);
    record(outcome == 0 ? SYNCED : FAILED, name_of(fd), 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    if (outcome != 0)
        errno = EIO;
    return outcome;
}

int fsync(int fd) {
    return synced(fd, real_fsync);
}

int fdatasync(int fd) {
    return synced(fd, real_fdatasync);
}
