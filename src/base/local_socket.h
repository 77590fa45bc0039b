/* Sockets in the file system, unix(7). Unlike an abstract one, or a port, such a socket does not belong to the network
 * namespace, which the sandbox shares, but to a folder, which it does not: nobody in the sandbox listens in its place,
 * and nobody sees what passes. */
#ifndef BASE_LOCAL_SOCKET_H
#define BASE_LOCAL_SOCKET_H

#include "base/why.h"

#include <stdbool.h>
#include <sys/types.h>

/* Where the API is served as well, unless it is said otherwise. */
#define LOCAL_SOCKET_OF_API "/run/opensandbox-egress/api.sock"
/* How the configuration writes that an address is one of these. */
#define LOCAL_SOCKET_PREFIX "unix:"

/* Absolute, and short enough for struct sockaddr_un. */
bool local_socket_path_is_valid(const char *path);

/* A socket that listens there and is its owner's alone, 0600, without blocking; its folder is made, 0700, when only
 * that is missing, and must not be another user's. What a dead process left is replaced, what a living one listens on
 * never. `ret_device` and `ret_inode` are for local_socket_remove(). To be called while there is one thread: the umask
 * is changed for a moment. The descriptor, or -errno with `why`: -EADDRINUSE somebody listens there. */
int local_socket_listen(const char *path, int backlog, dev_t *ret_device, ino_t *ret_inode, struct why *why);
/* Takes the file away, unless it is another by now. */
void local_socket_remove(const char *path, dev_t device, ino_t inode);

/* A connection, made or (backlog full: EAGAIN) not, without waiting. The descriptor, which does not block, or -errno.
 */
int local_socket_connect(const char *path);

enum local_socket_state {
    LOCAL_SOCKET_ABSENT,    /* nothing there, or nothing that this user may look at */
    LOCAL_SOCKET_DEAD,      /* its process has ended, or the file is no socket */
    LOCAL_SOCKET_HERE,      /* somebody of this network namespace listens */
    LOCAL_SOCKET_ELSEWHERE, /* somebody of another one does: several sandboxes in one file system */
};

/* What is at a path. Connects for a moment, and reads /proc/net/unix, which has the sockets of this namespace. */
enum local_socket_state local_socket_look(const char *path);

#endif
