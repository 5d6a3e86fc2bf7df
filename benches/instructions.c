// What older versions of valgrind (3.19 and others) lack, to be preloaded. Where the system call is
// there, it is made.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>

int epoll_pwait2(int epoll, struct epoll_event *events, int most,
                 const struct timespec *timeout, const sigset_t *signals) {
    int milliseconds = -1;
    if (timeout)
        milliseconds = timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000;
    return epoll_pwait(epoll, events, most, milliseconds, signals);
}

long syscall(long number, ...) {
    static long (*next)(long, ...);
    if (!next)
        next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_list rest;
    va_start(rest, number);
    long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
    long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
    va_end(rest);
    long result = next(number, a, b, c, d, e, f);
    // Nobody hears of the process's end then.
    if (result == -1 && errno == ENOSYS && number == SYS_pidfd_open)
        return eventfd(0, EFD_CLOEXEC);
    return result;
}
