/* A disk that breaks: in the thread UNREAD_THREAD, every `read` of the file UNREAD_FILE from byte
   UNREAD_FROM on fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int is_unreadable(int file)
{
    char link[64], path[4096] = "", thread[17] = "";
    const char *name = getenv("UNREAD_FILE");
    if (!name || prctl(PR_GET_NAME, thread) || strcmp(thread, getenv("UNREAD_THREAD")))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (readlink(link, path, sizeof path - 1) < 0 || !strstr(path, name))
        return 0;
    return lseek(file, 0, SEEK_CUR) >= atol(getenv("UNREAD_FROM"));
}

ssize_t read(int file, void *bytes, size_t length)
{
    ssize_t (*real)(int, void *, size_t);
    *(void **)&real = dlsym(RTLD_NEXT, "read");
    if (is_unreadable(file)) {
        errno = EIO;
        return -1;
    }
    return real(file, bytes, length);
}
