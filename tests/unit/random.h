/* Random numbers for property tests: the seed is in every failure message and can be given back as TEST_SEED. */
#ifndef TESTS_UNIT_RANDOM_H
#define TESTS_UNIT_RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct random {
    uint64_t seed, state;
};

static inline struct random random_new(void)
{
    uint64_t seed = 1;
    const char *given = getenv("TEST_SEED");
    if (given)
        seed = strtoull(given, NULL, 0);
    else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        perror("getrandom");
    return (struct random){.seed = seed, .state = seed};
}

/* splitmix64: every state is followed by a different one, zero included. 0 <= result < below. */
static inline unsigned random_below(struct random *random, unsigned below)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (unsigned)((z ^ z >> 31) % below);
}

#endif
