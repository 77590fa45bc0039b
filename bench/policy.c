/* How fast a policy of 100,000 mixed rules is read, compiled and asked. */
#include "rounds.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "policy/name.h"
#include "policy/policy.h"
#include "policy/policy_json.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RULES 100000
#define NAMES 200000
#define COLD_LOOKUPS 20000
#define ROUNDS 9
#define OTHER_MEMORY (256u << 10) /* what the kernel may touch while one query comes in and goes out */

/* One cache line each, read in order: in the daemon the name has just been read from the packet. */
struct name {
    uint8_t wire[63], len;
};

static struct name names[NAMES];
static uint8_t other_memory[OTHER_MEMORY];
static volatile uintptr_t sink;

/* Of this thread: a machine busy with other things shows through caches alone. */
static double cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static uint32_t random_below(uint32_t below)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

/* Of ten rules six are names, three wildcards and one a CIDR. */
static void target_text(uint32_t i, char text[64])
{
    if (i % 10 == 9)
        snprintf(text, 64, "10.%u.%u.0/%u", i / 10 >> 8 & 255, i / 10 & 255, 16 + i / 10 % 9);
    else
        snprintf(text, 64, "%ssvc%u.team%u.example.%s", i % 10 < 6 ? "" : "*.", i, i % 997, i % 3 ? "com" : "org");
}

static void die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static struct rule_list *make_rules(void)
{
    struct rule_list *list;
    struct why why;
    char text[64];
    if (rule_list_new(&list))
        die("out of memory");
    for (uint32_t i = 0; i < RULES; i++) {
        target_text(i, text);
        if (rule_list_add(list, i % 2 ? ACTION_ALLOW : ACTION_DENY, text, &why))
            die(why.text);
    }
    return list;
}

/* Names of three to five labels spread over the whole table; one half is decided by some rule. */
static void make_names(void)
{
    for (size_t i = 0; i < NAMES; i++) {
        char target[64], text[80];
        uint32_t rule = random_below(RULES / 10) * 10 + random_below(9);
        uint8_t wire[NAME_WIRE_MAX];
        size_t len;
        target_text(rule, target);
        bool wildcard = target[0] == '*', hit = i % 2;
        if (hit)
            snprintf(text, sizeof(text), "%s%s", wildcard ? "www" : "", wildcard ? target + 1 : target);
        else
            snprintf(text, sizeof(text), "%s%s", rule % 3 ? "no-" : "", wildcard ? target + 2 : target);
        if (name_from_text(text, wire, &len, NULL) || len > sizeof(names[i].wire))
            die(text);
        memcpy(names[i].wire, wire, len);
        names[i].len = (uint8_t)len;
    }
}

static double time_build(void)
{
    double start = cpu_ns();
    struct policy *policy;
    if (policy_new(ACTION_DENY, make_rules(), &policy))
        die("out of memory");
    double end = cpu_ns();
    policy_unref(policy);
    return end - start;
}

static double time_json(const struct buf *json)
{
    double start = cpu_ns();
    struct policy *policy;
    if (policy_from_json(json->data, json->len, 0, &policy, NULL))
        die("the JSON is not valid");
    double end = cpu_ns();
    policy_unref(policy);
    return end - start;
}

static double time_warm(const struct policy *policy)
{
    double start = cpu_ns();
    for (size_t i = 0; i < NAMES; i++)
        sink += (uintptr_t)policy_match_name(policy, names[i].wire, names[i].len);
    return (cpu_ns() - start) / NAMES;
}

/* Nanoseconds of one lookup (of none when `name` is NULL) after so much other memory has been touched. */
static double time_alone(const struct policy *policy, const struct name *name)
{
    for (size_t i = 0; i < OTHER_MEMORY; i += 64)
        other_memory[i]++;
    if (name)
        sink += name->wire[0];
    double start = clock_ns(CLOCK_MONOTONIC);
    if (name)
        sink += (uintptr_t)policy_match_name(policy, name->wire, name->len);
    return clock_ns(CLOCK_MONOTONIC) - start;
}

static double time_cold(const struct policy *policy)
{
    static double lookups[COLD_LOOKUPS], nothing[COLD_LOOKUPS];
    for (size_t i = 0; i < COLD_LOOKUPS; i++) {
        lookups[i] = time_alone(policy, &names[random_below(NAMES)]);
        nothing[i] = time_alone(policy, NULL);
    }
    return median(lookups, COLD_LOOKUPS) - median(nothing, COLD_LOOKUPS);
}

static void report(const char *what, double rounds[ROUNDS], double unit, const char *unit_name, const char *target)
{
    double middle = median(rounds, ROUNDS);
    printf("%-44s %8.1f %s   %8.1f .. %8.1f   %s\n", what, middle / unit, unit_name, rounds[0] / unit,
           rounds[ROUNDS - 1] / unit, target);
}

int main(void)
{
    double build[ROUNDS], json_parse[ROUNDS], warm[ROUNDS], cold[ROUNDS];
    struct policy *policy;
    _cleanup_buf_ struct buf json = {0};
    make_names();
    if (policy_new(ACTION_DENY, make_rules(), &policy))
        die("out of memory");
    policy_to_json(policy, &json);
    size_t hits = 0;
    for (size_t i = 0; i < NAMES; i++)
        hits += policy_match_name(policy, names[i].wire, names[i].len) != NULL;
    for (int round = 0; round < ROUNDS; round++) {
        build[round] = time_build();
        json_parse[round] = time_json(&json);
        warm[round] = time_warm(policy);
        cold[round] = time_cold(policy);
    }
    printf("%d rules, %d names (%.0f %% decided by a rule), JSON of %.1f MB; medians of %d rounds\n\n", RULES, NAMES,
           100.0 * (double)hits / NAMES, (double)json.len / 1e6, ROUNDS);
    printf("%-44s %11s   %20s   %s\n", "", "median", "least .. most", "must be");
    report("texts parsed and compiled", build, 1e6, "ms", "< 100 ms");
    report("JSON parsed, texts parsed and compiled", json_parse, 1e6, "ms", "");
    report("lookup, back to back over all names", warm, 1, "ns", "< 200 ns");
    report("lookup alone, after 256 KiB of other memory", cold, 1, "ns", "");
    policy_unref(policy);
    return 0;
}
