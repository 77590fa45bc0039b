#include "telemetry/labels.h"

#include "base/cleanup.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <string.h>

struct label {
    char *name;
    const struct metric_attribute *attribute;
};

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

void labels_name(struct buf *out, const char *key)
{
    bool after_underscore = false;
    if (!name_char(*key) || (*key >= '0' && *key <= '9')) {
        buf_putc(out, '_');
        after_underscore = true;
    }
    for (; *key; key++) {
        if (name_char(*key))
            buf_putc(out, *key);
        else if (!after_underscore)
            buf_putc(out, '_');
        after_underscore = !name_char(*key);
    }
}

static void append_escaped(struct buf *out, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len;) {
        size_t n = (uint8_t)text[i] < 0x80 ? 1 : utf8_sequence((const uint8_t *)text + i, len - i);
        if (!n)
            buf_puts(out, "\xEF\xBF\xBD");
        else if (text[i] == '\n')
            buf_puts(out, "\\n");
        else if (text[i] == '"' || text[i] == '\\')
            buf_printf(out, "\\%c", text[i]);
        else
            buf_append(out, text + i, n);
        i += n ? n : 1;
    }
}

void labels_quote(struct buf *out, const char *text)
{
    buf_putc(out, '"');
    append_escaped(out, text);
    buf_putc(out, '"');
}

static void append_value(struct buf *out, const struct metric_attribute *attribute)
{
    if (attribute->text)
        append_escaped(out, attribute->text);
    else
        buf_printf(out, "%" PRId64, attribute->integer);
}

static char *label_name(const char *key, const char *const *reserved, size_t n_reserved)
{
    struct buf name = {0};
    labels_name(&name, key);
    for (size_t i = 0; i < n_reserved && !name.failed; i++) {
        if (strcmp(name.data, reserved[i]))
            continue;
        buf_clear(&name);
        buf_puts(&name, "exported_");
        labels_name(&name, key);
        break;
    }
    if (name.failed) {
        buf_done(&name);
        return NULL;
    }
    return name.data;
}

/* By name, then by key, then as they came. */
static int by_name(const void *a, const void *b)
{
    const struct label *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    if (!order)
        order = strcmp(left->attribute->key, right->attribute->key);
    return order ? order : (left->attribute > right->attribute) - (left->attribute < right->attribute);
}

static void append_sorted(struct buf *out, const struct label *labels, size_t n)
{
    const char *open = NULL; /* the label that is being written */
    for (size_t i = 0; i < n; i++) {
        if (i + 1 < n && !strcmp(labels[i].attribute->key, labels[i + 1].attribute->key))
            continue;
        if (open && !strcmp(open, labels[i].name)) {
            buf_putc(out, ';');
        } else {
            if (open)
                buf_puts(out, "\",");
            open = labels[i].name;
            buf_puts(out, open);
            buf_puts(out, "=\"");
        }
        append_value(out, labels[i].attribute);
    }
    if (open)
        buf_puts(out, "\",");
}

void labels_append(struct buf *out, const struct metric_attribute *attributes, size_t n, const char *const *reserved,
                   size_t n_reserved)
{
    struct label *labels = calloc(n + 1, sizeof(*labels));
    size_t made = 0;
    for (; labels && made < n; made++) {
        labels[made] = (struct label){label_name(attributes[made].key, reserved, n_reserved), &attributes[made]};
        if (!labels[made].name)
            break;
    }
    if (labels && made == n) {
        qsort(labels, n, sizeof(*labels), by_name);
        append_sorted(out, labels, n);
    } else {
        out->failed = true;
    }
    for (size_t i = 0; i < made; i++)
        free(labels[i].name);
    free(labels);
}
