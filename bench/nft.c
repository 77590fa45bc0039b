/* What the kernel costs: learning addresses one by one and in batches, and replacing large policies. Runs in a network
 * namespace of its own (as root, or under unshare -Urn). */
#include "nft/nft.h"
#include "base/loop.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 20000
#define BATCH 64

static struct metrics counts;
static const struct nft_settings settings = {
    .filter = true, .dns_port = 15353, .mark = 1, .metrics = &counts, .max_addresses = 262144};
static const uint8_t name[] = "\3www\7example\3com";

static bool still_allowed(void *ctx, const uint8_t *wire, size_t len)
{
    return true;
}

static struct nft *fresh(void)
{
    static const struct nft_policy deny_all;
    struct why why = {""};
    struct nft *nft = NULL;
    if (nft_open(&settings, &nft, &why) || nft_install(nft, &deny_all, &why)) {
        fprintf(stderr, "%s\n", why.text);
        exit(EXIT_FAILURE);
    }
    return nft;
}

/* Learns `BATCH`-wise or one by one; `step` 0: the same addresses again and again, each time for longer. */
static void bench_learn(const char *what, size_t per_call, uint32_t step)
{
    struct nft *nft = fresh();
    struct learned batch[BATCH];
    uint64_t start = clock_monotonic_ns(), now = start;
    size_t calls = ROUNDS / per_call;
    for (size_t call = 0; call < calls; call++) {
        for (size_t i = 0; i < per_call; i++) {
            uint32_t addr = htonl(0x0b000000 + (uint32_t)(call * per_call) * step + (uint32_t)i);
            batch[i] = (struct learned){ip_from_v4(&addr), 0, name, sizeof(name)};
        }
        if (!step)
            now += 6 * NS_PER_S; /* pretends that time passes, so that every lease needs prolonging */
        if (nft_learn(nft, batch, per_call, now)) {
            fprintf(stderr, "learning failed\n");
            exit(EXIT_FAILURE);
        }
    }
    double us = (double)(clock_monotonic_ns() - start) / 1000;
    printf("%-28s %6.2f us per transaction, %6.2f us per address\n", what, us / (double)calls,
           us / (double)(calls * per_call));
    nft_free(nft);
}

/* Each time one of `every` ranges is another. */
static void bench_apply(uint32_t n, uint32_t every)
{
    struct nft *nft = fresh();
    struct ip_range *list = calloc(n, sizeof(*list));
    for (int round = 0; round < 3 && list; round++) {
        for (uint32_t i = 0; i < n; i++) {
            uint32_t first = htonl(0x0b000000 + 4 * i),
                     last = htonl(0x0b000001 + 4 * i + (i % every == 0 && round % 2));
            list[i] = (struct ip_range){ip_from_v4(&first), ip_from_v4(&last)};
        }
        struct nft_policy policy = {.allow = {.v4 = list, .n_v4 = n}};
        struct why why = {""};
        uint64_t start = clock_monotonic_ns();
        int error = nft_apply(nft, &policy, still_allowed, NULL, &why);
        uint64_t replaced = clock_monotonic_ns();
        if (!error)
            error = nft_apply(nft, &policy, still_allowed, NULL, &why);
        printf("%-7u ranges: %7.1f ms to replace 1 of %u, %5.2f ms when unchanged%s%s\n", n,
               (double)(replaced - start) / 1e6, every, (double)(clock_monotonic_ns() - replaced) / 1e6,
               error ? ": " : "", why.text);
    }
    free(list);
    nft_free(nft);
}

int main(void)
{
    if (unshare(CLONE_NEWNET)) {
        fprintf(stderr, "unshare: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    bench_learn("new, one by one", 1, 1);
    bench_learn("new, 64 at once", BATCH, 1);
    bench_learn("prolonging, one by one", 1, 0);
    bench_learn("prolonging, 64 at once", BATCH, 0);
    bench_apply(4096, 1);
    bench_apply(4096, 10);
    bench_apply(100000, 1);
    bench_apply(100000, 10);
    return EXIT_SUCCESS;
}
