/* What the rules do to real DNS packets, and to those of resolvers nearby. */
#include "nft_plain.h"
#include "nft_world.h"
#include "runner.h"

START_TEST(dns_is_redirected)
{
    struct service theirs = serve_outside(53);
    struct service ours = serve("127.0.0.1", DNS_PORT), ours_v6 = serve("::1", DNS_PORT);
    struct ip_addr exempt[] = {ip("198.51.100.53"), ip("2001:db8:51::53")};
    struct nft_settings settings = plain;
    settings.exempt = exempt;
    settings.n_exempt = 2;
    struct nft_policy policy = {.allow = ranges("0.0.0.0/0", "::/0", NULL)};
    for (int filter = 0; filter < 2; filter++) {
        settings.filter = filter;
        struct nft *nft = installed(&settings, &policy);
        expect_passes("198.51.100.1", 53, &ours, 0);
        expect_passes("2001:db8:51::1", 53, &ours_v6, 0);
        expect_passes("127.0.0.53", 53, &ours, 0);
        expect_passes("198.51.100.53", 53, &theirs, 0);
        expect_passes("2001:db8:51::53", 53, &theirs, 0);
        expect_passes("198.51.100.1", 53, &theirs, MARK);
        expect_passes("2001:db8:51::1", 53, &theirs, MARK);
        nft_free(nft);
    }
}
END_TEST

START_TEST(a_flow_older_than_the_redirect_does_not_bypass_it)
{
    struct service theirs = serve_outside(53);
    struct sock_addr client;
    socklen_t len = sizeof(client);
    char byte;
    run("nft 'table inet t { chain c { type filter hook output priority 0\nct state new accept\n}\n}'"); /* tracks flows
                                                                                                          */
    int fd = dial(SOCK_DGRAM, "10.9.0.1", 53, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert(readable(theirs.udp));
    ck_assert_int_eq(recvfrom(theirs.udp, &byte, 1, 0, &client.sa, &len), 1);
    ck_assert_int_eq(sendto(theirs.udp, &byte, 1, 0, &client.sa, len), 1);
    ck_assert(readable(fd));
    struct nft_policy policy = {.default_allow = true};
    struct nft *nft = installed(&plain, &policy);
    ck_assert_int_eq(send(fd, "x", 1, 0), -1);
    ck_assert_int_eq(errno, EPERM);
    nft_free(nft);
}
END_TEST

START_TEST(the_mark_opens_only_its_ports)
{
    struct service dns = serve_outside(53), upstream = serve_outside(5300), web = serve_outside(8080);
    struct sock_addr upstreams[2];
    sock_addr_parse("198.51.100.53:5300", 53, &upstreams[0]);
    sock_addr_parse("203.0.113.53:5301", 53, &upstreams[1]);
    struct ip_addr exempt[] = {ip("203.0.113.53")};
    struct nft_settings settings = plain;
    settings.upstreams = upstreams;
    settings.n_upstreams = 2;
    settings.exempt = exempt;
    settings.n_exempt = 1;
    struct service exempt_upstream = serve_outside(5301);
    struct nft *nft = installed(&settings, &deny_all);
    expect_passes("198.51.100.1", 53, &dns, MARK);
    expect_passes("203.0.113.9", 5300, &upstream, MARK); /* a load balancer may have changed the address */
    expect_refused("198.51.100.53", 8080, &web, MARK);
    expect_refused("198.51.100.53", 5300, &upstream, 0);
    expect_refused("198.51.100.53", 5300, &upstream, MARK + 1);
    expect_passes("203.0.113.53", 5301, &exempt_upstream, 0);
    expect_refused("203.0.113.53", 8080, &web, 0);
    nft_free(nft);
}
END_TEST

START_TEST(encrypted_dns)
{
    struct service dot = serve_outside(853), https = serve_outside(443);
    struct nft_settings settings = plain;
    struct nft_policy policy = {.default_allow = true, .always_allow = ranges("198.51.100.0/24", "::/0", NULL)};
    struct nft *nft = installed(&settings, &policy);
    expect_refused("198.51.100.1", 853, &dot, 0);
    expect_refused("2001:db8:51::1", 853, &dot, 0);
    expect_passes("198.51.100.1", 443, &https, 0);
    nft_free(nft);

    settings.block_doh_443 = true;
    nft = installed(&settings, &policy);
    expect_refused("198.51.100.1", 443, &https, 0);
    expect_refused("2001:db8:51::1", 443, &https, 0);
    nft_free(nft);

    settings.doh_blocklist = ranges("198.51.100.1", "2001:db8:51::1", NULL);
    nft = installed(&settings, &policy);
    expect_refused("198.51.100.1", 443, &https, 0);
    expect_refused("2001:db8:51::1", 443, &https, 0);
    expect_passes("198.51.100.2", 443, &https, 0);
    expect_passes("2001:db8:51::2", 443, &https, 0);
    nft_free(nft);
}
END_TEST

START_TEST(loopback)
{
    struct sock_addr upstreams[2];
    sock_addr_parse("127.0.0.1:5353", 53, &upstreams[0]);
    sock_addr_parse("[::1]:5353", 53, &upstreams[1]);
    struct nft_settings settings = plain;
    settings.upstreams = upstreams;
    settings.n_upstreams = 2;
    struct service resolver = serve("::", 5353), web = serve("::", 8080);
    struct nft *nft = installed(&settings, &deny_all);
    expect_passes("127.0.0.1", 8080, &web, 0);
    expect_passes("::1", 8080, &web, 0);
    expect_passes("10.9.0.2", 8080, &web, 0);
    expect_passes("2001:db8:9::2", 8080, &web, 0);
    expect_refused("127.0.0.1", 5353, &resolver, 0);
    expect_refused("::1", 5353, &resolver, 0);
    expect_passes("127.0.0.1", 5353, &resolver, MARK);
    expect_passes("::1", 5353, &resolver, MARK);
    nft_free(nft);
}
END_TEST

/* As Docker makes it: port 53 of 127.0.0.11 is redirected at -100 to a high port there. */
START_TEST(docker_resolver)
{
    struct service docker = serve("127.0.0.11", 40123), ours = serve("127.0.0.1", DNS_PORT);
    run("nft 'table ip docker { chain output { type nat hook output priority -100\n"
        "ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:40123\n"
        "ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:40123\n}\n}'");
    struct sock_addr upstream;
    sock_addr_parse("127.0.0.11", 53, &upstream);
    struct nft_settings settings = plain;
    settings.upstreams = &upstream;
    settings.n_upstreams = 1;
    struct nft *nft = installed(&settings, &deny_all);
    expect_passes("127.0.0.11", 53, &ours, 0);
    expect_passes("127.0.0.11", 53, &docker, MARK);
    expect_refused("127.0.0.11", 40123, &docker, 0);
    nft_free(nft);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_resolvers");
    TCase *tests = tcase_create("resolvers");
    tcase_add_checked_fixture(tests, build_world, NULL);
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, dns_is_redirected);
    tcase_add_test(tests, a_flow_older_than_the_redirect_does_not_bypass_it);
    tcase_add_test(tests, the_mark_opens_only_its_ports);
    tcase_add_test(tests, encrypted_dns);
    tcase_add_test(tests, loopback);
    tcase_add_test(tests, docker_resolver);
    suite_add_tcase(suite, tests);
    return suite;
}
