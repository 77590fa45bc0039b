#include "api/etag.h"

#include <sha256.h>
#include <stdint.h>
#include <string.h>

#define ETAG_DIGITS (ETAG_SIZE - 3)

void etag_make(const void *content, size_t len, char ret[ETAG_SIZE])
{
    char hex[SHA256_DIGEST_STRING_LENGTH];
    SHA256Data(content, len, hex);
    ret[0] = '"';
    memcpy(ret + 1, hex, ETAG_DIGITS);
    memcpy(ret + 1 + ETAG_DIGITS, "\"", 2);
}

bool etag_listed(const char *field, const char *etag, bool strong)
{
    const char *at = field + strspn(field, " \t");
    if (at[0] == '*' && at[1 + strspn(at + 1, " \t")] == '\0')
        return true;
    size_t len = strlen(etag);
    for (;;) {
        at += strspn(at, " \t,");
        bool weak = strncmp(at, "W/", 2) == 0;
        if (weak)
            at += 2;
        /* A tag may contain commas: it ends at its quote. */
        const char *end = *at == '"' ? strchr(at + 1, '"') : NULL;
        if (!end)
            return false;
        end++;
        if ((size_t)(end - at) == len && memcmp(at, etag, len) == 0 && !(weak && strong))
            return true;
        at = end;
    }
}
