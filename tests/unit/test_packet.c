/* What the start of a packet says of where it goes. */
#include "nft/packet.h"
#include "runner.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Hexadecimal digits with spaces between them; the bytes are in memory of their own, so that a sanitizer sees what is
 * read beyond them. */
static uint8_t *bytes_of(const char *hex, size_t *ret_len)
{
    uint8_t *bytes = malloc(strlen(hex) + 1);
    size_t len = 0;
    char digits[3] = "";
    for (; *hex; hex++) {
        if (*hex == ' ')
            continue;
        memcpy(digits, hex++, 2);
        bytes[len++] = (uint8_t)strtoul(digits, NULL, 16);
    }
    *ret_len = len;
    return realloc(bytes, len ? len : 1);
}

#define V4(head, protocol) head "00 0000 0000 0000 40" protocol "0000 0a090002 c6336407 "
#define V6(next) "60000000 0000" next "40 20010db8000900000000000000000002 20010db8005100000000000000000001 "
#define PORTS "8000 01bb "

static const struct {
    const char *hex, *addr;
    uint8_t protocol;
    uint16_t port;
} packets[] = {
    {V4("45", "06") PORTS "0000", "198.51.100.7", IPPROTO_TCP, 443},
    {V4("45", "11") PORTS, "198.51.100.7", IPPROTO_UDP, 443},
    {V4("45", "84") PORTS, "198.51.100.7", IPPROTO_SCTP, 443},
    {V4("47", "06") "94040000 01010101" PORTS, "198.51.100.7", IPPROTO_TCP, 443}, /* with options */
    {V4("44", "06") PORTS, "198.51.100.7", IPPROTO_TCP, 443},                     /* a length that cannot be */
    {V4("45", "01") "08000000", "198.51.100.7", IPPROTO_ICMP, 0},
    {V4("45", "fd"), "198.51.100.7", 253, 0},
    {V4("45", "06") "8000 01", "198.51.100.7", IPPROTO_TCP, 0}, /* cut off */
    {V4("4f", "06") PORTS, "198.51.100.7", IPPROTO_TCP, 0},     /* cut off within the options */
    {"4500 0000 0000 2001 4006 0000 0a090002 c6336407" PORTS, "198.51.100.7", IPPROTO_TCP, 0}, /* a later fragment */
    {"4500 0000 0000 4000 4006 0000 0a090002 c6336407" PORTS, "198.51.100.7", IPPROTO_TCP, 443},
    {V6("06") PORTS, "2001:db8:51::1", IPPROTO_TCP, 443},
    {V6("3a") "80000000", "2001:db8:51::1", IPPROTO_ICMPV6, 0},
    {V6("00") "11 00 00000000 0000" PORTS, "2001:db8:51::1", IPPROTO_UDP, 443},
    {V6("3c") "2b 01 0000 00000000 0000000000000000 06 00 0000 00000000" PORTS, "2001:db8:51::1", IPPROTO_TCP, 443},
    {V6("33") "06 04 0000 00000000 00000000 000000000000000000000000" PORTS, "2001:db8:51::1", IPPROTO_TCP, 443},
    {V6("2c") "06 00 0001 00000000" PORTS, "2001:db8:51::1", IPPROTO_TCP, 443}, /* the first fragment */
    {V6("2c") "06 00 0008 00000000" PORTS, "2001:db8:51::1", IPPROTO_TCP, 0},   /* a later one */
    {V6("00") "06 ff 0000", "2001:db8:51::1", IPPROTO_HOPOPTS, 0},              /* cut off */
};

START_TEST(destination_protocol_and_port)
{
    size_t len;
    uint8_t *bytes = bytes_of(packets[_i].hex, &len);
    char text[IP_TEXT_MAX];
    struct peer peer;
    ck_assert(peer_from_packet(bytes, len, &peer));
    ck_assert_str_eq(ip_format(&peer.addr, text), packets[_i].addr);
    ck_assert_uint_eq(peer.protocol, packets[_i].protocol);
    ck_assert_uint_eq(peer.port, packets[_i].port);
    free(bytes);
}
END_TEST

START_TEST(what_is_too_short_is_no_packet)
{
    static const char *const whole[] = {V4("45", "06"), V6("06")};
    for (size_t i = 0; i < 2; i++) {
        size_t len;
        uint8_t *bytes = bytes_of(whole[i], &len);
        struct peer peer;
        for (size_t cut = 0; cut < len; cut++) {
            uint8_t *copy = malloc(cut + 1);
            memcpy(copy, bytes, cut);
            copy = realloc(copy, cut ? cut : 1);
            ck_assert(!peer_from_packet(copy, cut, &peer));
            free(copy);
        }
        ck_assert(peer_from_packet(bytes, len, &peer));
        bytes[0] = 0x55;
        ck_assert(!peer_from_packet(bytes, len, &peer));
        free(bytes);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("packet");
    TCase *tests = tcase_create("packet");
    tcase_add_loop_test(tests, destination_protocol_and_port, 0, sizeof(packets) / sizeof(packets[0]));
    tcase_add_test(tests, what_is_too_short_is_no_packet);
    suite_add_tcase(suite, tests);
    return suite;
}
