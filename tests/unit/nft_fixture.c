#include "nft_fixture.h"

#include "base/ip_ranges.h"
#include "base/loop.h"

#include <check.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char text[8 << 20];

static void write_file(const char *path, const char *content)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, content, strlen(content)), strlen(content));
    close(fd);
}

int netns_enter_new(void)
{
    uid_t uid = geteuid();
    if (uid != 0) {
        char map[64];
        snprintf(map, sizeof(map), "0 %u 1", uid);
        ck_assert_int_eq(unshare(CLONE_NEWUSER), 0);
        write_file("/proc/self/uid_map", map);
    }
    ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
    run("ip link set lo up");
    return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

void netns_enter(int fd)
{
    ck_assert_int_eq(setns(fd, CLONE_NEWNET), 0);
}

void run(const char *format, ...)
{
    char command[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    ck_assert_msg(system(command) == 0, "failed: %s", command);
}

const char *output(const char *format, ...)
{
    char command[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    FILE *pipe = popen(command, "re");
    ck_assert_ptr_nonnull(pipe);
    size_t len = fread(text, 1, sizeof(text) - 1, pipe);
    text[len] = '\0';
    if (pclose(pipe) != 0)
        text[0] = '\0';
    return text;
}

void expect_table(const char *name)
{
    static char expected[1 << 20];
    char path[1024];
    snprintf(path, sizeof(path), "%s/nft/%s", TEST_DATA, name);
    FILE *file = fopen(path, "re");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    size_t len = fread(expected, 1, sizeof(expected) - 1, file);
    expected[len] = '\0';
    fclose(file);
    const char *got = output("nft -s list ruleset");
    size_t same = 0; /* a whole table is more than check takes for a message */
    while (got[same] && got[same] == expected[same])
        same++;
    ck_assert_msg(strcmp(got, expected) == 0, "%s expected:\n…%.1000s\nbut it is:\n…%.1000s", name, expected + same,
                  got + same);
}

void expect(const char *command, const char *needle)
{
    const char *got = output("%s", command);
    ck_assert_msg(strstr(got, needle) != NULL, "%s: no \"%s\" in\n%s", command, needle, got);
}

void expect_not(const char *command, const char *needle)
{
    const char *got = output("%s", command);
    ck_assert_msg(*got && !strstr(got, needle), "%s: \"%s\" in\n%s", command, needle, got);
}

size_t occurrences(const char *haystack, const char *needle)
{
    /* Not strstr(): under AddressSanitizer each call reads to the end. */
    size_t n = 0, len = strlen(needle), left = strlen(haystack);
    for (const char *at = haystack; left >= len; at++, left--)
        n += memcmp(at, needle, len) == 0;
    return n;
}

struct ip_addr ip(const char *literal)
{
    struct ip_addr addr;
    ck_assert_int_eq(ip_parse(literal, &addr), 0);
    return addr;
}

struct ip_ranges ranges(const char *first, ...)
{
    struct ip_prefix prefixes[16];
    size_t n = 0;
    va_list args;
    va_start(args, first);
    for (const char *literal = first; literal; literal = va_arg(args, const char *))
        ck_assert_int_eq(ip_prefix_parse(literal, &prefixes[n++]), 0);
    va_end(args);
    static struct ip_ranges made[16]; /* remembered, so that they are no leak */
    static size_t n_made;
    ck_assert_uint_lt(n_made, 16);
    ck_assert_int_eq(ip_ranges_build(prefixes, n, &made[n_made]), 0);
    return made[n_made++];
}

struct nft *installed(const struct nft_settings *settings, const struct nft_policy *policy)
{
    struct why why = {""};
    struct nft *nft = NULL;
    ck_assert_msg(nft_open(settings, &nft, &why) == 0, "%s", why.text);
    ck_assert_msg(nft_install(nft, policy, &why) == 0, "%s", why.text);
    return nft;
}

int learn(struct nft *nft, const char *addr, const char *wire_name, uint32_t ttl)
{
    struct learned learned = {
        .addr = ip(addr), .ttl = ttl, .name = (const uint8_t *)wire_name, .name_len = (uint8_t)(strlen(wire_name) + 1)};
    return nft_learn(nft, &learned, 1, clock_monotonic_ns());
}
