#include "ctl/listing.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define CELL_MAX 4096 /* bytes of what is formatted */

/* Appends at most `width` characters of `text` and returns how many. A character is taken for one column wide. */
static size_t put_clean(struct buf *out, const char *text, size_t width)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t left = strlen(text), columns = 0;
    for (size_t n; left && columns < width; s += n, left -= n, columns++) {
        n = utf8_sequence(s, left);
        bool control = n ? s[0] == 0xC2 && s[1] < 0xA0 : s[0] < ' ' || s[0] >= 0x7f;
        n = n ? n : 1;
        if (control)
            buf_putc(out, '?');
        else
            buf_append(out, s, n);
    }
    return columns;
}

static size_t put_toned(struct buf *out, bool colour, enum tone tone, const char *text, size_t width)
{
    static const char *const starts[] = {"", "\033[2m", "\033[1m", "\033[32m", "\033[31m"};
    colour = colour && tone != TONE_PLAIN;
    buf_puts(out, colour ? starts[tone] : "");
    size_t columns = put_clean(out, text, width);
    buf_puts(out, colour ? "\033[0m" : "");
    return columns;
}

void tone_put(struct buf *out, bool colour, enum tone tone, const char *text)
{
    put_toned(out, colour, tone, text, SIZE_MAX);
}

static size_t columns_of(const char *text)
{
    _cleanup_buf_ struct buf nowhere = {0};
    return put_clean(&nowhere, text, SIZE_MAX);
}

void listing_add(struct listing *listing, enum tone tone, const char *text)
{
    buf_putc(&listing->cells, (char)tone);
    buf_append(&listing->cells, text, strlen(text) + 1);
    size_t *widest = &listing->widths[listing->n_cells++ % listing->n_columns], width = columns_of(text);
    if (width > *widest)
        *widest = width;
}

void listing_printf(struct listing *listing, enum tone tone, const char *format, ...)
{
    char text[CELL_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    listing_add(listing, tone, text);
}

void listing_titles(struct listing *listing, const char *titles)
{
    while (*titles) {
        size_t len = strcspn(titles, ",");
        listing_printf(listing, TONE_BOLD, "%.*s", (int)len, titles);
        titles += len + (titles[len] == ',');
    }
}

static void pad(struct buf *out, size_t n)
{
    buf_printf(out, "%*s", (int)n, "");
}

void listing_put(struct listing *listing, size_t width, struct buf *out)
{
    const char *cell = listing->cells.data;
    size_t used = 0, owed = 0; /* columns of the row, and spaces before its next cell */
    width = width ? width : SIZE_MAX;
    for (size_t i = 0; i < listing->n_cells && !listing->cells.failed; i++, cell += strlen(cell) + 1) {
        size_t column = i % listing->n_columns;
        enum tone tone = (enum tone) * cell++;
        if (*cell && used + owed < width) {
            pad(out, owed);
            size_t columns = put_toned(out, listing->colour, tone, cell, width - used - owed);
            used += owed + columns;
            owed = listing->widths[column] - columns + 2;
        } else {
            owed += listing->widths[column] + 2;
        }
        if (column + 1 == listing->n_columns) {
            buf_putc(out, '\n');
            used = owed = 0;
        }
    }
    out->failed |= listing->cells.failed;
    listing_done(listing);
}

void listing_done(struct listing *listing)
{
    buf_done(&listing->cells);
    listing->n_cells = 0;
    memset(listing->widths, 0, sizeof(listing->widths));
}
