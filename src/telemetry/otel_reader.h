/* Reading single variables of the OpenTelemetry environment, and noting what is wrong with them. For otel_env alone. */
#ifndef TELEMETRY_OTEL_READER_H
#define TELEMETRY_OTEL_READER_H

#include "telemetry/otel_env.h"

#include <stdbool.h>
#include <stddef.h>

struct otel_reader {
    struct otel_env *env;
    const char *hostinfo;
    int error; /* -ENOMEM once memory was short; what is read then is thrown away */
};

/* Notes a warning, once however often it is given. */
void otel_warn(struct otel_reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void otel_expected(struct otel_reader *r, const char *name, const char *value, const char *what);

/* The trimmed value, the caller's to free; NULL when it is not set. */
char *otel_value_of(struct otel_reader *r, const char *name);

/* These fill `ret` and return true when the variable is set and can be used; one that cannot be used is warned about.
 */
bool otel_read_number(struct otel_reader *r, const char *name, unsigned min, unsigned max, unsigned *ret);
/* `ret`: the index of the word, whatever its case. */
bool otel_read_word(struct otel_reader *r, const char *name, const char *const *words, size_t n, const char *what,
                    unsigned *ret);
bool otel_read_bool(struct otel_reader *r, const char *name, void *ret); /* a bool: whatever is set can be used */
bool otel_read_text(struct otel_reader *r, const char *name, void *ret); /* a char *, the caller's to free */

/* Which exporters a signal has. `prometheus` says whether that is one of them and is given; GET /metrics is always
 * there, so the word only stands for "not by OTLP". */
struct otel_exporters {
    bool prometheus;
    bool otlp, console;
};

/* False when no word of the list is known. */
bool otel_read_exporters(struct otel_reader *r, const char *name, struct otel_exporters *ret);

#endif
