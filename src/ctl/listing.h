/* Text for a person's terminal: columns that stand below each other, and colour where it is wanted. Nothing that comes
 * from elsewhere reaches the terminal as a control character. */
#ifndef CTL_LISTING_H
#define CTL_LISTING_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define LISTING_COLUMNS_MAX 8

enum tone { TONE_PLAIN, TONE_FAINT, TONE_BOLD, TONE_GOOD, TONE_BAD };

/* Zeroed but for the first two. */
struct listing {
    bool colour;
    size_t n_columns;
    struct buf cells; /* each a tone and text with its NUL, row after row */
    size_t n_cells, widths[LISTING_COLUMNS_MAX];
};

/* Appends `text`, control characters replaced, in the tone. */
void tone_put(struct buf *out, bool colour, enum tone tone, const char *text);
/* The next cell, from left to right. */
void listing_add(struct listing *listing, enum tone tone, const char *text);
void listing_printf(struct listing *listing, enum tone tone, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A row of titles, separated by commas. */
void listing_titles(struct listing *listing, const char *titles);
/* Appends the rows, each with a newline, cut to `width` columns (0: not at all), and empties the listing. */
void listing_put(struct listing *listing, size_t width, struct buf *out);
void listing_done(struct listing *listing);

#define _cleanup_listing_ __attribute__((cleanup(listing_done)))

#endif
