/* How much memory the kernel lets this process and those of its control groups have. */
#ifndef MEMORY_LIMIT_H
#define MEMORY_LIMIT_H

#include <stdint.h>

/* The least limit among its memory control group (version 2 or 1) and those above it, in bytes; UINT64_MAX when there
 * is none, or when that cannot be read. Reads files, so it comes before Landlock. */
uint64_t memory_limit(void);

#endif
