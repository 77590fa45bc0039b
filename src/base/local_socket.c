#include "base/local_socket.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define FOLDER_MODE 0700
#define OTHERS 0177      /* what a socket of mode 0600 lacks */
#define LISTENS 0x10000u /* __SO_ACCEPTCON, in the kernel's include/uapi/linux/net.h */

bool local_socket_path_is_valid(const char *path)
{
    return path[0] == '/' && strlen(path) < sizeof(((struct sockaddr_un *)NULL)->sun_path);
}

static int address_of(const char *path, struct sockaddr_un *ret)
{
    if (!local_socket_path_is_valid(path))
        return -ENAMETOOLONG;
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret->sun_path, path, strlen(path) + 1);
    return 0;
}

static int make_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd;
}

int local_socket_connect(const char *path)
{
    struct sockaddr_un address;
    int error = address_of(path, &address);
    _cleanup_close_ int fd = error ? -1 : make_socket();
    if (fd < 0)
        return error ? error : fd;
    return connect(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : take_fd(&fd);
}

/* Whether a process lives that listens there. A full queue is one, too. */
static bool is_alive(const char *path)
{
    int fd = local_socket_connect(path);
    if (fd >= 0)
        close(fd);
    return fd >= 0 || fd == -EAGAIN;
}

/* Held while the old socket gives way to ours, so that two that start at once do not take each other's. */
static int lock_folder(const char *path, struct why *why)
{
    _cleanup_free_ char *copy = strdup(path);
    if (!copy)
        return why_set(why, -ENOMEM, "%s: out of memory", path);
    const char *folder = dirname(copy);
    if (mkdir(folder, FOLDER_MODE) && errno != EEXIST)
        return why_set(why, -errno, "cannot make the folder %s: %s", folder, strerrordesc_np(errno));
    struct stat st;
    _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && !fstat(fd, &st) && st.st_uid && st.st_uid != geteuid())
        return why_set(why, -EPERM, "cannot listen in the folder %s: it is another user's", folder);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB))
        return why_set(why, -errno, "cannot listen in the folder %s: %s", folder, strerrordesc_np(errno));
    return take_fd(&fd);
}

static int remove_dead(const char *path, struct why *why)
{
    struct stat st;
    if (lstat(path, &st))
        return errno == ENOENT ? 0 : why_set(why, -errno, "cannot listen on %s: %s", path, strerrordesc_np(errno));
    if (!S_ISSOCK(st.st_mode))
        return why_set(why, -EEXIST, "cannot listen on %s: it is there and no socket", path);
    if (is_alive(path))
        return why_set(why, -EADDRINUSE, "cannot listen on %s: another process does", path);
    if (unlink(path) && errno != ENOENT)
        return why_set(why, -errno, "cannot remove the old socket %s: %s", path, strerrordesc_np(errno));
    return 0;
}

int local_socket_listen(const char *path, int backlog, dev_t *ret_device, ino_t *ret_inode, struct why *why)
{
    struct sockaddr_un address;
    struct stat st;
    int error = address_of(path, &address);
    if (error)
        return why_set(why, error, "%s: %s", path, strerrordesc_np(-error));
    _cleanup_close_ int lock = lock_folder(path, why);
    if (lock < 0)
        return lock;
    if ((error = remove_dead(path, why)))
        return error;
    _cleanup_close_ int fd = make_socket();
    if (fd < 0)
        return why_set(why, fd, "socket: %s", strerrordesc_np(-fd));
    mode_t before = umask(OTHERS);
    error = bind(fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
    umask(before);
    if (!error && (listen(fd, backlog) || lstat(path, &st)))
        error = -errno;
    if (error)
        return why_set(why, error, "cannot listen on %s: %s", path, strerrordesc_np(-error));
    *ret_device = st.st_dev;
    *ret_inode = st.st_ino;
    return take_fd(&fd);
}

void local_socket_remove(const char *path, dev_t device, ino_t inode)
{
    struct stat st;
    if (!lstat(path, &st) && st.st_dev == device && st.st_ino == inode)
        unlink(path);
}

/* Whether a socket of this network namespace listens at the path; true, too, when the kernel does not say. */
static bool is_of_this_namespace(const char *path)
{
    FILE *sockets = fopen("/proc/net/unix", "re");
    if (!sockets)
        return true;
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    while (!found && getline(&line, &size, sockets) > 0) {
        unsigned flags;
        int at = 0;
        line[strcspn(line, "\n")] = '\0';
        found = sscanf(line, "%*x: %*x %*x %x %*x %*x %*u %n", &flags, &at) == 1 && at && flags & LISTENS &&
                !strcmp(line + at, path);
    }
    free(line);
    fclose(sockets);
    return found;
}

enum local_socket_state local_socket_look(const char *path)
{
    struct stat st;
    if (lstat(path, &st) || access(path, W_OK))
        return LOCAL_SOCKET_ABSENT;
    if (!is_alive(path))
        return LOCAL_SOCKET_DEAD;
    return is_of_this_namespace(path) ? LOCAL_SOCKET_HERE : LOCAL_SOCKET_ELSEWHERE;
}
