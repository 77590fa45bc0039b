/* Whose page a request without a token may be. */
#include "api/origin.h"

#include "runner.h"

#define OWN "127.0.0.1:18080"

static const struct {
    const char *host, *origin, *fetch_site;
    enum origin_verdict verdict;
} cases[] = {
    {NULL, NULL, NULL, ORIGIN_FINE},
    {OWN, NULL, NULL, ORIGIN_FINE},
    {OWN, "http://" OWN, NULL, ORIGIN_FINE},
    {OWN, "https://" OWN, NULL, ORIGIN_FINE}, /* a proxy speaks TLS in front of us */
    {OWN, "http://" OWN, "same-origin", ORIGIN_FINE},
    {OWN, NULL, "NONE", ORIGIN_FINE},
    {OWN, "http://evil.test", "same-origin", ORIGIN_FOREIGN},
    {OWN, "null", NULL, ORIGIN_FOREIGN},
    {OWN, "", NULL, ORIGIN_FOREIGN},
    {OWN, OWN, NULL, ORIGIN_FOREIGN},
    {OWN, "http://" OWN "/", NULL, ORIGIN_FOREIGN},
    {OWN, "http://127.0.0.1", NULL, ORIGIN_FOREIGN},
    {NULL, "http://" OWN, NULL, ORIGIN_FOREIGN},
    {OWN, NULL, "cross-site", ORIGIN_FOREIGN},
    {OWN, NULL, "same-site", ORIGIN_FOREIGN},
    {OWN, NULL, "", ORIGIN_FOREIGN},
    {"evil.test:18080", "http://evil.test:18080", "same-origin", ORIGIN_FOREIGN_HOST},
    {"evil.test", NULL, NULL, ORIGIN_FOREIGN_HOST},
    {"", NULL, NULL, ORIGIN_FOREIGN_HOST},
    {":18080", NULL, NULL, ORIGIN_FOREIGN_HOST},
    {"[::1]", NULL, NULL, ORIGIN_FINE},
    {"[fd00::1]:18080", NULL, NULL, ORIGIN_FINE},
    {"[::1", NULL, NULL, ORIGIN_FOREIGN_HOST},
    {"sandbox:18080", NULL, NULL, ORIGIN_FINE},
    {"sandbox.", NULL, NULL, ORIGIN_FINE},
    {"a.b.Localhost.", NULL, NULL, ORIGIN_FINE},
    {"egress.ns.svc", NULL, NULL, ORIGIN_FINE},
    {"egress.ns.svc.cluster.local:80", NULL, NULL, ORIGIN_FINE},
    {".local", NULL, NULL, ORIGIN_FOREIGN_HOST},
    {"evillocal.test", NULL, NULL, ORIGIN_FOREIGN_HOST},
    {"127.0.0.1.evil.test", NULL, NULL, ORIGIN_FOREIGN_HOST},
    {"one.example", NULL, NULL, ORIGIN_FINE},
    {"TWO.example.:9", "http://two.EXAMPLE.:9", NULL, ORIGIN_FINE},
    {"o.example", NULL, NULL, ORIGIN_FOREIGN_HOST},
    {"x.one.example", NULL, NULL, ORIGIN_FOREIGN_HOST},
};

START_TEST(verdicts)
{
    const struct origin_headers headers = {cases[_i].host, cases[_i].origin, cases[_i].fetch_site};
    ck_assert_msg(origin_look(&headers, " one.example ,two.example") == cases[_i].verdict, "%s %s %s", cases[_i].host,
                  cases[_i].origin, cases[_i].fetch_site);
}
END_TEST

START_TEST(long_hosts)
{
    char host[400];
    for (size_t len = 250; len < sizeof(host); len++) {
        for (size_t i = 0; i < len; i++)
            host[i] = 'a';
        host[len] = '\0';
        const struct origin_headers headers = {.host = host};
        ck_assert_int_eq(origin_look(&headers, NULL), len < 254 ? ORIGIN_FINE : ORIGIN_FOREIGN_HOST);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("origin");
    TCase *tcase = tcase_create("origin");
    tcase_add_loop_test(tcase, verdicts, 0, sizeof(cases) / sizeof(cases[0]));
    tcase_add_test(tcase, long_hosts);
    suite_add_tcase(suite, tcase);
    return suite;
}
