/* A reading cursor over bytes from outside: never reads past `end`, remembers the first failure, checked once.
 * All numbers are big-endian. */
#ifndef BASE_WIRE_H
#define BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire {
    const uint8_t *at, *end;
    bool failed;
};

static inline struct wire wire_init(const uint8_t *data, size_t len)
{
    return (struct wire){.at = data, .end = data + len};
}

static inline size_t wire_left(const struct wire *wire)
{
    return (size_t)(wire->end - wire->at);
}

/* The next `len` bytes, or NULL once anything failed. */
static inline const uint8_t *wire_take(struct wire *wire, size_t len)
{
    if (wire->failed || wire_left(wire) < len) {
        wire->failed = true;
        return NULL;
    }
    const uint8_t *bytes = wire->at;
    wire->at += len;
    return bytes;
}

static inline uint8_t wire_u8(struct wire *wire)
{
    const uint8_t *b = wire_take(wire, 1);
    return b ? b[0] : 0;
}

static inline uint16_t wire_load16(const uint8_t *b)
{
    return (uint16_t)(b[0] << 8 | b[1]);
}

static inline uint32_t wire_load32(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline void wire_store16(uint8_t *b, uint16_t value)
{
    b[0] = (uint8_t)(value >> 8);
    b[1] = (uint8_t)value;
}

static inline void wire_store32(uint8_t *b, uint32_t value)
{
    wire_store16(b, (uint16_t)(value >> 16));
    wire_store16(b + 2, (uint16_t)value);
}

static inline uint16_t wire_u16(struct wire *wire)
{
    const uint8_t *b = wire_take(wire, 2);
    return b ? wire_load16(b) : 0;
}

static inline uint32_t wire_u32(struct wire *wire)
{
    const uint8_t *b = wire_take(wire, 4);
    return b ? wire_load32(b) : 0;
}

#endif
