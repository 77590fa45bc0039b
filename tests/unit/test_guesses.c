/* How many wrong tokens a source has in a second, and which clients are one source. */
#include "api/guesses.h"

#include "base/loop.h"
#include "runner.h"

#include <stdio.h>
#include <string.h>

static struct guesses guesses;

static void start(void)
{
    memset(&guesses, 0, sizeof(guesses));
    guesses.key.words[0] = 0x0706050403020100;
}

static struct guess_source *source_of(enum connection_side side, const char *text)
{
    struct sock_addr addr;
    ck_assert_int_eq(sock_addr_parse(text, 1, &addr), 0);
    return guesses_source(&guesses, side, &addr.sa);
}

START_TEST(ten_a_second)
{
    struct guess_source *source = source_of(CONNECTION_INSIDE, "127.0.0.1");
    uint64_t now = 5 * NS_PER_S;
    for (unsigned second = 0; second < 3; second++, now += NS_PER_S) {
        for (unsigned i = 0; i < GUESSES_PER_SECOND; i++) {
            ck_assert(guesses_left(source, now + i));
            guesses_wrong(source, now + i);
        }
        ck_assert(!guesses_left(source, now + GUESSES_PER_SECOND));
        ck_assert(!guesses_left(source, now + NS_PER_S - 1));
    }
    ck_assert(guesses_left(source, now));
}
END_TEST

START_TEST(sources)
{
    struct guess_source *inside = source_of(CONNECTION_INSIDE, "127.0.0.1");
    ck_assert_ptr_eq(source_of(CONNECTION_INSIDE, "10.0.5.2"), inside);
    ck_assert_ptr_eq(source_of(CONNECTION_INSIDE, "::1"), inside);
    struct guess_source *local = guesses_source(&guesses, CONNECTION_LOCAL, NULL);
    ck_assert_ptr_ne(local, inside);
    struct guess_source *outside = source_of(CONNECTION_OUTSIDE, "192.0.2.1");
    ck_assert(outside != inside && outside != local);
    /* ::ffff:192.0.2.1 is no address of its own in text here, but is one of the listener for both. */
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};
    memcpy(mapped.sin6_addr.s6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1", 16);
    ck_assert_ptr_eq(guesses_source(&guesses, CONNECTION_OUTSIDE, (struct sockaddr *)&mapped), outside);
    struct guess_source *network = source_of(CONNECTION_OUTSIDE, "2001:db8::1");
    ck_assert_ptr_eq(source_of(CONNECTION_OUTSIDE, "2001:db8::ffff:1:2:3"), network);
}
END_TEST

START_TEST(addresses_are_spread)
{
    bool seen[GUESSES_OUTSIDE] = {false};
    unsigned n = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char text[32];
        snprintf(text, sizeof(text), "192.0.%u.%u", i / 250, 1 + i % 250);
        size_t at = (size_t)(source_of(CONNECTION_OUTSIDE, text) - guesses.outside);
        n += !seen[at];
        seen[at] = true;
    }
    ck_assert_uint_eq(n, GUESSES_OUTSIDE);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("guesses");
    TCase *tcase = tcase_create("guesses");
    tcase_add_checked_fixture(tcase, start, NULL);
    tcase_add_test(tcase, ten_a_second);
    tcase_add_test(tcase, sources);
    tcase_add_test(tcase, addresses_are_spread);
    suite_add_tcase(suite, tcase);
    return suite;
}
