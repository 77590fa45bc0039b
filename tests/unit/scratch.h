/* A folder of a test's own, and whole files as text. */
#ifndef TESTS_UNIT_SCRATCH_H
#define TESTS_UNIT_SCRATCH_H

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SCRATCH_PATH_MAX 512

struct scratch {
    char folder[64];
    char path[SCRATCH_PATH_MAX]; /* last made by scratch_path() */
};

static inline void scratch_make(struct scratch *s)
{
    snprintf(s->folder, sizeof(s->folder), "/tmp/egress-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(s->folder));
}

static inline int scratch_remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    return remove(path);
}

static inline void scratch_remove(struct scratch *s)
{
    ck_assert_int_eq(nftw(s->folder, scratch_remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Valid until the next call. */
static inline const char *scratch_path(struct scratch *s, const char *name)
{
    ck_assert_uint_lt((size_t)snprintf(s->path, sizeof(s->path), "%s/%s", s->folder, name), sizeof(s->path));
    return s->path;
}

static inline void scratch_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

/* The whole file with a final NUL, the caller's to free; NULL when there is none. */
static inline char *scratch_read(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    char *text = NULL;
    size_t cap = 0;
    if (getdelim(&text, &cap, '\0', f) < 0) {
        free(text);
        text = strdup("");
    }
    fclose(f);
    return text;
}

#endif
