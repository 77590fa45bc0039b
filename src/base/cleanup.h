/* Scope-bound release of locals: the value is released when its scope ends unless `take_pointer` or `take_fd`
 * handed it over first. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* Defines `name`, a cleanup function that releases a `type *` with `release`, which must accept NULL. */
#define DEFINE_CLEANUP(type, name, release)                                                                            \
    static inline void name(type **slot)                                                                               \
    {                                                                                                                  \
        release(*slot);                                                                                                \
    }                                                                                                                  \
    struct cleanup_needs_semicolon

static inline void cleanup_free(void *slot)
{
    free(*(void **)slot);
}

static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)

/* The value of `slot`, which is emptied: ownership leaves the scope. */
#define take_pointer(slot)                                                                                             \
    ({                                                                                                                 \
        __typeof__(slot) taken_ = (slot);                                                                              \
        (slot) = NULL;                                                                                                 \
        taken_;                                                                                                        \
    })

static inline int take_fd(int *slot)
{
    int fd = *slot;
    *slot = -1;
    return fd;
}

#endif
