/* The system calls that the process may still make: an allow-list in the kernel (seccomp, by libseccomp). */
#ifndef SYSCALLS_H
#define SYSCALLS_H

#include "base/why.h"

/* From here on a call that is not on the list fails with EPERM, and one that only an intruder would make (running a
 * program, looking into another process, changing credentials, namespaces, mounts, modules) ends the process with
 * SIGSYS. The list with its reasons is in syscalls.c. To be called before any thread is started; needs no_new_privs. 0,
 * or -errno with `why`: the kernel has no seccomp filters. Takes a few milliseconds. */
int syscalls_restrict(struct why *why);

#endif
