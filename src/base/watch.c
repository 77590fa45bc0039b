#include "base/watch.h"

#include "base/cleanup.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>

#define POLL_NS (60 * NS_PER_S)
#define POLL_BLIND_NS NS_PER_S
/* A writer is through when nothing happened for so long; one that never pauses is not waited for any longer. */
#define QUIET_NS (100 * NS_PER_MS)
#define PATIENCE_NS (500 * NS_PER_MS)
#define CLOCK_TICK_NS                                                                                                  \
    ((int64_t)(20 * NS_PER_MS)) /* a file system's clock has no finer steps than the kernel's, 1 to 10 ms */

#define FOLDER_EVENTS                                                                                                  \
    (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB | IN_ONLYDIR)
#define FILE_EVENTS (IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

#define MARKS (WATCH_FILES_MAX + 2) /* the files, the folder, the folder above */

/* Which version of a file. */
struct version {
    long error; /* there is none; as long as the others, since versions are compared byte by byte */
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, altered;
};

struct watch {
    struct loop *loop;
    struct watch_settings settings;
    struct loop_source events; /* inotify; fd -1 when there is none */
    struct loop_timer settle, poll;
    uint64_t patience_end_ns; /* while `settle` is armed */
    int marks[MARKS];         /* descriptors of inotify, -1 when unused */
    bool blind;
    bool unread; /* `changed` could not read what is in `known` */
    struct version known[WATCH_FILES_MAX];
};

static int path_of(const struct watch *watch, size_t i, char path[PATH_MAX])
{
    int len = snprintf(path, PATH_MAX, "%s/%s", watch->settings.folder, watch->settings.names[i]);
    return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static struct version version_of(const struct watch *watch, size_t i)
{
    char path[PATH_MAX];
    struct stat st;
    /* Compared as bytes, padding too. */
    struct version version;
    memset(&version, 0, sizeof(version));
    version.error = path_of(watch, i, path);
    if (!version.error && stat(path, &st))
        version.error = -errno;
    if (version.error)
        return version;
    version.device = st.st_dev;
    version.inode = st.st_ino;
    version.size = st.st_size;
    version.modified = st.st_mtim;
    version.altered = st.st_ctim;
    return version;
}

/* So new that another write could leave the same time behind. */
static bool is_fresh(const struct version *version)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age_s = (int64_t)now.tv_sec - version->altered.tv_sec;
    if (age_s < -1 || age_s > 1)
        return false;
    int64_t age_ns = age_s * (int64_t)NS_PER_S + now.tv_nsec - version->altered.tv_nsec;
    return age_ns > -CLOCK_TICK_NS && age_ns < CLOCK_TICK_NS;
}

/* Takes the files as they are for known; says whether they were not. */
static bool look(struct watch *watch)
{
    bool differs = false;
    for (size_t i = 0; i < watch->settings.n_names; i++) {
        struct version version = version_of(watch, i);
        differs |= memcmp(&version, &watch->known[i], sizeof(version)) != 0;
        watch->known[i] = version;
        if (is_fresh(&version))
            watch->known[i].inode = 0; /* differs from any */
    }
    return differs;
}

/* The folder above, or while that is missing the one above it, and so on: there the folder will appear, and there it
 * is exchanged when it is a symbolic link. */
static int mark_above(int fd, const char *folder)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s", folder) >= (int)sizeof(path))
        return -1;
    const char *above = path;
    int mark;
    do {
        above = dirname(path);
        if (above != path) /* a constant: "." or "/" */
            memcpy(path, above, strlen(above) + 1);
        mark = inotify_add_watch(fd, path, FOLDER_EVENTS);
    } while (mark < 0 && strcmp(path, "/") && strcmp(path, "."));
    return mark;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Asks for the events of what the paths lead to now; of what they led to before only, no longer. */
static void mark_all(struct watch *watch)
{
    int fd = watch->events.fd, marks[MARKS];
    if (fd < 0)
        return;
    memset(marks, -1, sizeof(marks));
    marks[0] = mark_above(fd, watch->settings.folder);
    marks[1] = inotify_add_watch(fd, watch->settings.folder, FOLDER_EVENTS | IN_MODIFY | IN_CLOSE_WRITE);
    watch->blind = marks[0] < 0 || (marks[1] < 0 && is_folder(watch->settings.folder));
    for (size_t i = 0; i < watch->settings.n_names; i++) {
        char path[PATH_MAX];
        if (path_of(watch, i, path))
            continue;
        marks[2 + i] = inotify_add_watch(fd, path, FILE_EVENTS);
        watch->blind |= marks[2 + i] < 0 && errno == ENOSPC; /* the system's limit */
    }
    for (size_t old = 0; old < MARKS; old++) {
        bool used = false;
        for (size_t i = 0; i < MARKS; i++)
            used |= marks[i] == watch->marks[old];
        if (!used)
            inotify_rm_watch(fd, watch->marks[old]); /* it may be gone by itself */
    }
    memcpy(watch->marks, marks, sizeof(marks));
}

static void set_poll(struct watch *watch)
{
    uint64_t poll_ns = watch->settings.poll_ms ? watch->settings.poll_ms * NS_PER_MS : POLL_NS;
    if (watch->blind && poll_ns > POLL_BLIND_NS)
        poll_ns = POLL_BLIND_NS;
    loop_timer_set(watch->loop, &watch->poll, loop_now(watch->loop) + poll_ns);
}

/* Marks first: what changes after the look makes an event. */
static void check(struct watch *watch, bool report)
{
    loop_timer_cancel(watch->loop, &watch->settle);
    mark_all(watch);
    bool differs = look(watch);
    if (differs || report || watch->unread)
        watch->unread = !watch->settings.changed(watch->settings.ctx, !differs && !report);
    set_poll(watch);
}

void watch_report(struct watch *watch)
{
    check(watch, true);
}

static void on_time_to_look(struct loop_timer *timer)
{
    check(timer->owner, false);
}

static void on_events(struct loop_source *source, uint32_t events)
{
    struct watch *watch = source->owner;
    char buffer[16 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
    if (read(source->fd, buffer, sizeof(buffer)) < 0)
        return;
    uint64_t now_ns = loop_now(watch->loop), due_ns = now_ns + QUIET_NS;
    if (!watch->settle.heap_at)
        watch->patience_end_ns = now_ns + PATIENCE_NS;
    if (due_ns > watch->patience_end_ns)
        due_ns = watch->patience_end_ns;
    loop_timer_set(watch->loop, &watch->settle, due_ns);
}

void watch_free(struct watch *watch)
{
    if (!watch)
        return;
    loop_timer_cancel(watch->loop, &watch->settle);
    loop_timer_cancel(watch->loop, &watch->poll);
    if (watch->events.fd >= 0) {
        loop_remove(watch->loop, &watch->events);
        close(watch->events.fd);
    }
    free(watch);
}

DEFINE_CLEANUP(struct watch, cleanup_watch, watch_free);

int watch_new(struct loop *loop, const struct watch_settings *settings, struct watch **ret)
{
    _cleanup_(cleanup_watch) struct watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return -ENOMEM;
    watch->loop = loop;
    watch->settings = *settings;
    watch->settle = (struct loop_timer){.fire = on_time_to_look, .owner = watch};
    watch->poll = (struct loop_timer){.fire = on_time_to_look, .owner = watch};
    watch->events =
        (struct loop_source){.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .ready = on_events, .owner = watch};
    memset(watch->marks, -1, sizeof(watch->marks));
    if (watch->events.fd >= 0 && loop_add(loop, &watch->events, EPOLLIN)) {
        close(watch->events.fd);
        watch->events.fd = -1;
    }
    watch->blind = watch->events.fd < 0;
    mark_all(watch);
    look(watch);
    set_poll(watch);
    *ret = take_pointer(watch);
    return 0;
}

bool watch_is_blind(const struct watch *watch)
{
    return watch->blind;
}
