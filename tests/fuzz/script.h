/* Inputs that are scripts: what happens, step by step, in a world without clock, threads or luck of its own. The linker
 * puts these functions in the place of the C library's while a script runs (meson.build: `wraps`). */
#ifndef TESTS_FUZZ_SCRIPT_H
#define TESTS_FUZZ_SCRIPT_H

#include "base/loop.h"

#include "fuzz.h"

#include <stdbool.h>

struct script {
    const uint8_t *at, *end;
};

/* 0 at the end of the script. */
uint8_t script_u8(struct script *script);
uint16_t script_u16(struct script *script);
/* The next bytes, as many as a 16-bit number says that is before them, and no more than there are. */
const uint8_t *script_bytes(struct script *script, size_t *ret_len);

/* The world is the script's from now on: its time begins at one second, its random numbers repeat. */
void world_begin(void);
void world_end(void);
void world_advance(uint64_t ns);
/* One turn of a loop. */
void world_turn(struct loop *loop);

/* Whether a TCP socket that is opened now is one end of a socket pair, the other end of which is kept for
 * world_connected(). */
void world_pair_sockets(bool on);
/* The next other end, -1 when there is none. The caller closes it. */
int world_connected(void);

#endif
