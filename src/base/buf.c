#include "base/buf.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_done(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

/* Makes room for `extra` bytes and a final NUL. */
static bool buf_reserve(struct buf *buf, size_t extra)
{
    if (buf->failed)
        return false;
    if (extra < buf->cap - buf->len)
        return true;
    size_t cap = buf->cap ? buf->cap : 256;
    while (cap && cap - buf->len <= extra)
        cap *= 2; /* 0 on overflow */
    char *data = cap ? realloc(buf->data, cap) : NULL;
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->cap = cap;
    return true;
}

void *buf_room(struct buf *buf, size_t len)
{
    return buf_reserve(buf, len) ? buf->data + buf->len : NULL;
}

void buf_append(struct buf *buf, const void *data, size_t len)
{
    if (!buf_reserve(buf, len))
        return;
    if (len)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void buf_drop(struct buf *buf, size_t len)
{
    buf->len -= len;
    memmove(buf->data, buf->data + len, buf->len + 1);
}

void buf_puts(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_putc(struct buf *buf, char c)
{
    buf_append(buf, &c, 1);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0) {
        buf->failed = true;
    } else if (buf_reserve(buf, (size_t)len)) {
        vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

static bool json_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void buf_json_string(struct buf *buf, const char *text, size_t len)
{
    const uint8_t *s = (const uint8_t *)text;
    buf_putc(buf, '"');
    for (size_t i = 0; i < len;) {
        size_t run = i;
        while (run < len && json_plain(s[run]))
            run++;
        buf_append(buf, text + i, run - i);
        i = run;
        if (i == len)
            break;
        uint8_t c = s[i];
        if (c >= 0x80) {
            size_t n = utf8_sequence(s + i, len - i);
            buf_append(buf, n ? text + i : "\xEF\xBF\xBD", n ? n : 3);
            i += n ? n : 1;
            continue;
        }
        if (c == '"' || c == '\\') {
            buf_putc(buf, '\\');
            buf_putc(buf, (char)c);
        } else if (c == '\n') {
            buf_puts(buf, "\\n");
        } else if (c == '\t') {
            buf_puts(buf, "\\t");
        } else if (c == '\r') {
            buf_puts(buf, "\\r");
        } else {
            buf_printf(buf, "\\u%04x", c);
        }
        i++;
    }
    buf_putc(buf, '"');
}
