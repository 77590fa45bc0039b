/* A few files of one folder, watched in the loop: by inotify, and by looking now and then, since not every file system
 * tells. Whatever way a file changes counts: written in place, renamed over, deleted, reached through symbolic links
 * that are exchanged (a Kubernetes ConfigMap), mounted one by one; the folder may come and go. Only what happens to
 * folders further up than the one above it is seen no sooner than at the next look. */
#ifndef BASE_WATCH_H
#define BASE_WATCH_H

#include "base/loop.h"

#include <stddef.h>

#define WATCH_FILES_MAX 4

/* Borrowed for the life of the watch. */
struct watch_settings {
    const char *folder;
    const char *const *names; /* in the folder */
    size_t n_names;           /* at most WATCH_FILES_MAX */
    unsigned poll_ms;         /* how often to look where inotify works; 0: 60 s. Else it is once a second at least. */
    /* The files are not what they were. Read them and return true; false when it has to be tried again at the next
     * look: then `again` says that they are still what they were at the last call. */
    bool (*changed)(void *ctx, bool again);
    void *ctx;
};

struct watch;

/* The files as they are now count as known: read them after this. A system without inotify to spare is no error.
 * 0 or -errno. */
int watch_new(struct loop *loop, const struct watch_settings *settings, struct watch **ret);
void watch_free(struct watch *watch);
/* Calls `changed` now, whether anything did; what the files are now counts as known. */
void watch_report(struct watch *watch);
/* Whether a change may take until the next look to be seen. */
bool watch_is_blind(const struct watch *watch);

#endif
