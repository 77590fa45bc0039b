/* A growable byte string. An allocation that fails is remembered (`failed`) and later appends do nothing, so that a
 * writer checks once at the end. `data` is NUL-terminated whenever `len` > 0. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data;
    size_t len;
    size_t cap;
    bool failed;
};

void buf_done(struct buf *buf);
/* Forgets the content, keeps the memory. */
void buf_clear(struct buf *buf);
/* Room for `len` bytes behind the content, for a writer that adds what it used to `len` itself; NULL when memory is
 * short. */
void *buf_room(struct buf *buf, size_t len);
void buf_append(struct buf *buf, const void *data, size_t len);
/* Takes the first `len` bytes away. */
void buf_drop(struct buf *buf, size_t len);
void buf_puts(struct buf *buf, const char *text);
void buf_putc(struct buf *buf, char c);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends `text` as a JSON string with its quotes (RFC 8259 section 7). Bytes that are no valid UTF-8 become U+FFFD. */
void buf_json_string(struct buf *buf, const char *text, size_t len);

#define _cleanup_buf_ __attribute__((cleanup(buf_done)))

#endif
