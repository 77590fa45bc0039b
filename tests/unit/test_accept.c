#include "api/accept.h"
#include "tests/unit/runner.h"

#include <stddef.h>

#define OPENMETRICS "application/openmetrics-text"

START_TEST(who_gets_openmetrics)
{
    static const char *const yes[] = {
        OPENMETRICS,
        OPENMETRICS ";version=1.0.0",
        OPENMETRICS "; version=\"1.0.0\"; charset=utf-8",
        "Application/OpenMetrics-Text; Version=1.0.0; q=0.1",
        /* what a Prometheus server sends */
        OPENMETRICS ";version=1.0.0," OPENMETRICS ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "text/plain;q=0.5, */*;q=0.9, " OPENMETRICS ";q=0.6", /* plain text is named at 0.5 */
        "text/plain, " OPENMETRICS,
        OPENMETRICS ", text/plain;q=0",
        "text/html;title=\"a, b; q=0\", " OPENMETRICS,
    };
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        ck_assert_msg(accept_prefers_openmetrics(yes[i]), "%s", yes[i]);
}
END_TEST

START_TEST(who_gets_plain_text)
{
    static const char *const no[] = {
        "",
        "*/*",
        "text/plain",
        "text/html, image/png",
        OPENMETRICS ";version=0.0.1",
        OPENMETRICS ";version=2.0.0",
        OPENMETRICS ";q=0",
        OPENMETRICS ";q=0.5, text/plain",
        OPENMETRICS ";q=0.5, text/*;q=0.6",
        OPENMETRICS ";q=0.5, */*",
        OPENMETRICS ";q=much",
        OPENMETRICS ";q=1.5",
        OPENMETRICS ";q=-1",
        OPENMETRICS ";q=nan",
        OPENMETRICS "-2",
        "x" OPENMETRICS,
        "\"" OPENMETRICS,
        ";;;,,,;q=,=",
    };
    ck_assert(!accept_prefers_openmetrics(NULL));
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        ck_assert_msg(!accept_prefers_openmetrics(no[i]), "%s", no[i]);
}
END_TEST

START_TEST(who_gets_gzip)
{
    static const char *const yes[] = {"gzip", "GZIP;q=0.1", "deflate, gzip;q=1.0, *;q=0", "gzip, deflate, br, zstd",
                                      "*"};
    static const char *const no[] = {"", "identity", "gzip;q=0", "gzip;q=0, *", "deflate, *;q=0", "gzipped", "br"};
    ck_assert(!accept_takes_gzip(NULL));
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        ck_assert_msg(accept_takes_gzip(yes[i]), "%s", yes[i]);
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        ck_assert_msg(!accept_takes_gzip(no[i]), "%s", no[i]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("accept");
    TCase *tcase = tcase_create("accept");
    tcase_add_test(tcase, who_gets_openmetrics);
    tcase_add_test(tcase, who_gets_plain_text);
    tcase_add_test(tcase, who_gets_gzip);
    suite_add_tcase(suite, tcase);
    return suite;
}
