/* What went wrong, as one line for a person. Modules fill it and return a negative errno; the rim prints it. */
#ifndef BASE_WHY_H
#define BASE_WHY_H

#define WHY_MAX 512

struct why {
    char text[WHY_MAX];
};

/* Formats one line into `why` (cut at WHY_MAX, line breaks and control characters turned into spaces) and returns
 * `error`, a negative errno, so that a caller can write `return why_set(why, -EINVAL, "…")`. `why` may be NULL. */
int why_set(struct why *why, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
