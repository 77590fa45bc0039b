#include "nft/names.h"

#include "base/domain_name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Packed, since records follow one another without gaps. */
struct record {
    uint64_t expires_ns;
    uint8_t denied;
    uint8_t len;
    uint8_t wire[];
} __attribute__((packed));

static struct record *record_at(const struct names *names, size_t at)
{
    return at < names->len ? (struct record *)(names->bytes + at) : NULL;
}

static size_t record_size(size_t name_len)
{
    return sizeof(struct record) + name_len;
}

#define FOR_EACH_RECORD(record, names)                                                                                 \
    for (size_t at_ = 0; (record = record_at(names, at_)); at_ += record_size(record->len))

void names_done(struct names *names)
{
    free(names->bytes);
    *names = (struct names){0};
}

void names_clear(struct names *names)
{
    names->len = 0;
}

static void remove_record(struct names *names, struct record *record)
{
    size_t size = record_size(record->len);
    uint8_t *start = (uint8_t *)record, *end = names->bytes + names->len;
    memmove(start, start + size, (size_t)(end - start) - size);
    names->len = (uint16_t)(names->len - size);
}

static void forget_soonest(struct names *names)
{
    struct record *record, *soonest = NULL;
    FOR_EACH_RECORD(record, names)
    {
        if (!soonest || record->expires_ns < soonest->expires_ns)
            soonest = record;
    }
    if (soonest)
        remove_record(names, soonest);
}

static int reserve(struct names *names, size_t len)
{
    size_t cap = names->cap ? names->cap : 64;
    while (cap < len)
        cap *= 2;
    if (cap == names->cap)
        return 0;
    uint8_t *bytes = realloc(names->bytes, cap);
    if (!bytes)
        return -ENOMEM;
    names->bytes = bytes;
    names->cap = (uint16_t)cap;
    return 0;
}

static struct record *find_record(const struct names *names, const uint8_t *wire, size_t len)
{
    struct record *record;
    FOR_EACH_RECORD(record, names)
    {
        if (record->len == len && memcmp(record->wire, wire, len) == 0)
            return record;
    }
    return NULL;
}

bool names_has(const struct names *names, const uint8_t *wire, size_t len)
{
    return find_record(names, wire, len) != NULL;
}

void names_swap(struct names *a, struct names *b)
{
    struct names other = *a;
    *a = *b;
    *b = other;
}

int names_add(struct names *names, const uint8_t *wire, size_t len, uint64_t expires_ns)
{
    struct record *record = find_record(names, wire, len);
    if (record) {
        if (record->expires_ns < expires_ns)
            record->expires_ns = expires_ns;
        return 0;
    }
    while (names->len + record_size(len) > NAMES_MAX_BYTES)
        forget_soonest(names);
    if (reserve(names, names->len + record_size(len)))
        return -ENOMEM;
    record = (struct record *)(names->bytes + names->len);
    *record = (struct record){.expires_ns = expires_ns, .len = (uint8_t)len};
    memcpy(record->wire, wire, len);
    names->len = (uint16_t)(names->len + record_size(len));
    return 1;
}

int names_copy(const struct names *names, struct names *ret)
{
    if (reserve(ret, names->len))
        return -ENOMEM;
    if (names->len)
        memcpy(ret->bytes, names->bytes, names->len);
    ret->len = names->len;
    return 0;
}

uint64_t names_mark_denied(struct names *names, uint64_t now_ns, names_allowed *allowed, void *ctx, bool *ret_any)
{
    uint64_t until = 0;
    bool any = false;
    struct record *record;
    FOR_EACH_RECORD(record, names)
    {
        record->denied = !allowed(ctx, record->wire, record->len);
        any |= record->denied;
        if (!record->denied && record->expires_ns > now_ns && record->expires_ns > until)
            until = record->expires_ns;
    }
    *ret_any = any;
    return until;
}

void names_prolong(struct names *names, uint64_t expires_ns)
{
    struct record *record;
    FOR_EACH_RECORD(record, names)
    {
        if (record->expires_ns < expires_ns)
            record->expires_ns = expires_ns;
    }
}

void names_drop_ended(struct names *names, uint64_t now_ns)
{
    for (size_t at = 0; at < names->len;) {
        struct record *record = record_at(names, at);
        if (record->expires_ns <= now_ns)
            remove_record(names, record);
        else
            at += record_size(record->len);
    }
}

void names_drop_denied(struct names *names)
{
    for (size_t at = 0; at < names->len;) {
        struct record *record = record_at(names, at);
        if (record->denied)
            remove_record(names, record);
        else
            at += record_size(record->len);
    }
}

void names_unmark(struct names *names)
{
    struct record *record;
    FOR_EACH_RECORD(record, names)
    record->denied = 0;
}

void names_text(const struct names *names, char *out, size_t size)
{
    size_t n = 0;
    struct record *record;
    FOR_EACH_RECORD(record, names)
    {
        char text[DOMAIN_TEXT_MAX];
        size_t comma = n ? 1 : 0;
        size_t len = record->denied ? 0 : domain_name_text(record->wire, record->len, text);
        if (!len || n + comma + len >= size)
            continue;
        if (comma)
            out[n++] = ',';
        memcpy(out + n, text, len);
        n += len;
    }
    out[n] = '\0';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The octet at `*at`, which moves behind it; -1 when there is none. Names are lower-case, so no capital is ours. */
static int octet_from_text(const char **at)
{
    const char *c = *at;
    if (domain_octet_is_plain((uint8_t)*c)) {
        *at += 1;
        return (uint8_t)*c;
    }
    if (c[0] != '\\' || !is_digit(c[1]) || !is_digit(c[2]) || !is_digit(c[3]))
        return -1;
    *at += 4;
    int value = (c[1] - '0') * 100 + (c[2] - '0') * 10 + (c[3] - '0');
    return value <= UINT8_MAX && (value < 'A' || value > 'Z') ? value : -1;
}

/* Reads one name, up to a comma or the end; `*at` moves there. Its length, 0 when it is none. */
static size_t name_from_text(const char **at, uint8_t wire[NAME_MAX_OCTETS])
{
    size_t head = 0, n = 1; /* wire[head] is the length of the label under way */
    wire[0] = 0;
    if (**at == '.') {
        ++*at;
        return **at && **at != ',' ? 0 : n;
    }
    for (;;) {
        bool at_end = !**at || **at == ',';
        if (at_end || **at == '.') {
            if (n - head < 2 || n - head > 64 || n == NAME_MAX_OCTETS)
                return 0;
            wire[head] = (uint8_t)(n - head - 1);
            head = n++;
            wire[head] = 0;
            if (at_end)
                return n;
            ++*at;
            continue;
        }
        int octet = octet_from_text(at);
        if (octet < 0 || n == NAME_MAX_OCTETS)
            return 0;
        wire[n++] = (uint8_t)octet;
    }
}

int names_from_text(const char *text, uint64_t expires_ns, struct names *ret)
{
    uint8_t wire[NAME_MAX_OCTETS];
    for (const char *at = text;; at++) {
        size_t len = name_from_text(&at, wire);
        if (!len)
            return -EINVAL;
        if (names_add(ret, wire, len, expires_ns) < 0)
            return -ENOMEM;
        if (!*at)
            return 0;
    }
}
