/* The names that led to one address, each with the time until which it did. Bounded: when more names come than fit,
 * the one that ends soonest is forgotten, which can only take the address away earlier. */
#ifndef NFT_NAMES_H
#define NFT_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_MAX_OCTETS 255
#define NAMES_MAX_BYTES 512 /* at least the longest name and its record, 265 */

struct names {
    uint8_t *bytes; /* records, one after the other */
    uint16_t len, cap;
};

/* Whether policy still lets a name (wire format) through. */
typedef bool names_allowed(void *ctx, const uint8_t *name, size_t len);

void names_done(struct names *names);
/* Forgets all names, keeps the memory. */
void names_clear(struct names *names);
/* Remembers a name in wire format (1..255 octets), or that a known one holds longer. 1 when the name is new, 0 when it
 * was known, -ENOMEM. */
int names_add(struct names *names, const uint8_t *wire, size_t len, uint64_t expires_ns);
/* Whether this name is among them. */
bool names_has(const struct names *names, const uint8_t *wire, size_t len);
void names_swap(struct names *a, struct names *b);
/* A copy in `ret`, which is empty before. 0 or -ENOMEM. */
int names_copy(const struct names *names, struct names *ret);
/* Marks the names that are no longer allowed, says whether there are any, and returns until when the others hold: 0
 * when none is left at `now_ns`. */
uint64_t names_mark_denied(struct names *names, uint64_t now_ns, names_allowed *allowed, void *ctx, bool *ret_any);
/* All names hold until `expires_ns`, those that hold longer excepted. */
void names_prolong(struct names *names, uint64_t expires_ns);
/* Drops what ended at or before `now_ns`. */
void names_drop_ended(struct names *names, uint64_t now_ns);
void names_drop_denied(struct names *names);
void names_unmark(struct names *names);
/* Text of those that are not marked, as many as fit, with commas between them; `size` counts the NUL. Octets that are
 * no letter, digit, '-' or '_' become \DDD (RFC 4343 section 2.1). */
void names_text(const struct names *names, char *out, size_t size);
/* Reads what names_text() wrote into `ret`, which is empty before; all of them hold until `expires_ns`. 0, -EINVAL when
 * any of it is no name or there is none, -ENOMEM. */
int names_from_text(const char *text, uint64_t expires_ns, struct names *ret);

#endif
