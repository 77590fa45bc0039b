/* What fuzz targets share. A target is fed by libFuzzer (LLVMFuzzerTestOneInput) and aborts on what must not be; the
 * sanitizers see the rest. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Like assert(), in every build. */
#define must(condition)                                                                                                \
    ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: must: %s\n", __FILE__, __LINE__, #condition), abort()))

#endif
