/* Landlock: which files the process may still open (kernel's Documentation/userspace-api/landlock.rst). There is no
 * library for it in Debian 12, hence the bare system calls.
 *
 * A rule belongs to the file or folder that a path leads to now; what is put in its place later is not covered, hence
 * rules for folders. Reading attributes (stat), links and looking for access are never restricted. */
#ifndef LANDLOCK_H
#define LANDLOCK_H

enum landlock_access {
    LANDLOCK_READ,   /* files and folders, below as well */
    LANDLOCK_REMOVE, /* files and sockets below may be removed, nothing else */
    LANDLOCK_WRITE,  /* and create, write, rename within one folder, remove regular files */
};

/* A ruleset in which nothing is allowed: a descriptor, the caller's. -ENOSYS or -EOPNOTSUPP: the kernel has no
 * Landlock, or it is not switched on. */
int landlock_begin(void);
/* 0, also for what needs no rule (pipes and sockets behind /proc/self/fd); -ENOENT and the like: no such path. */
int landlock_allow(int ruleset, const char *path, enum landlock_access access);
/* From here on nothing else can be opened by this thread and those that it starts. Needs no_new_privs. Besides, no TCP
 * socket can be bound (Linux 6.7), and no signal and no connection to an abstract socket leaves the process (6.12). */
int landlock_enforce(int ruleset);

#endif
