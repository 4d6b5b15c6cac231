/* Lets the disk fail, for a process that is started with this in LD_PRELOAD:

   FAIL_SYNC=FILE      while FILE exists, fdatasync fails with EIO, and writes a byte into FILE for each time it is asked
   SLOW_SYNC=FILE      while FILE exists, fdatasync takes so many milliseconds longer as FILE says
   FULL=FILE           while FILE exists, nothing can be written at an offset: ENOSPC
   NO_ALLOCATION=1     blocks cannot be allocated ahead, as on file systems that do not know how to
*/

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void wait_for_disk(void)
{
    char text[8] = "";
    const char *file = getenv("SLOW_SYNC");
    int milliseconds, said = file ? open(file, O_RDONLY) : -1;
    struct timespec left;
    if (said < 0)
        return;
    milliseconds = read(said, text, sizeof text - 1) > 0 ? atoi(text) : 0;
    close(said);
    left.tv_sec = milliseconds / 1000;
    left.tv_nsec = milliseconds % 1000 * 1000000L;
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

int fdatasync(int handle)
{
    static int (*real)(int);
    const char *file = getenv("FAIL_SYNC");
    int counter = file ? open(file, O_WRONLY | O_APPEND) : -1;
    if (counter >= 0) {
        int written = write(counter, "x", 1) == 1;
        close(counter);
        errno = written ? EIO : ENOSYS;
        return -1;
    }
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_for_disk();
    return real(handle);
}

static int allocate(const char *name, int handle, off_t start, off_t length)
{
    int (*real)(int, off_t, off_t);
    if (getenv("NO_ALLOCATION"))
        return EOPNOTSUPP;
    real = (int (*)(int, off_t, off_t))dlsym(RTLD_NEXT, name);
    return real(handle, start, length);
}

int posix_fallocate(int handle, off_t start, off_t length)
{
    return allocate("posix_fallocate", handle, start, length);
}

int posix_fallocate64(int handle, off_t start, off_t length)
{
    return allocate("posix_fallocate64", handle, start, length);
}

static int full(void)
{
    const char *file = getenv("FULL");
    if (!file || access(file, F_OK) != 0)
        return 0;
    errno = ENOSPC;
    return 1;
}

static ssize_t write_at(const char *name, int handle, const void *data, size_t size, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t);
    if (full())
        return -1;
    real = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, name);
    return real(handle, data, size, offset);
}

ssize_t pwrite(int handle, const void *data, size_t size, off_t offset)
{
    return write_at("pwrite", handle, data, size, offset);
}

ssize_t pwrite64(int handle, const void *data, size_t size, off_t offset)
{
    return write_at("pwrite64", handle, data, size, offset);
}

static ssize_t write_parts_at(const char *name, int handle, const struct iovec *parts, int count, off_t offset)
{
    ssize_t (*real)(int, const struct iovec *, int, off_t);
    if (full())
        return -1;
    real = (ssize_t (*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, name);
    return real(handle, parts, count, offset);
}

ssize_t pwritev(int handle, const struct iovec *parts, int count, off_t offset)
{
    return write_parts_at("pwritev", handle, parts, count, offset);
}

ssize_t pwritev64(int handle, const struct iovec *parts, int count, off_t offset)
{
    return write_parts_at("pwritev64", handle, parts, count, offset);
}
