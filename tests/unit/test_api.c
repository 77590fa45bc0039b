/* What the API answers and what it does: section 4 of the contract, row by row. */
#include "api_fixture.h"
#include "runner.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

static struct fixture f;

static void start(void)
{
    fixture_start(&f, (struct api_settings){0});
}

static void stop(void)
{
    fixture_stop(&f);
}

START_TEST(get_shows_the_policy_in_force)
{
    fixture_expect_policy(&f, POLICY_BODY("deny_all", "", "deny"));
    client_expect(&f, "GET", "/policy?verbose=1", NULL, 200, POLICY_BODY("deny_all", "", "deny"));
    struct answer answer = client_call(&f, "GET", "/policy", NULL, NULL);
    _cleanup_free_ char *type = answer_header(&answer, "Content-Type");
    ck_assert_str_eq(type, "application/json");
    buf_done(&answer.body);
}
END_TEST

START_TEST(post_and_put_replace)
{
    client_expect(&f, "POST", "/policy",
                  "{\"defaultAction\":\"deny\",\"egress\":[{\"action\":\" Allow \",\"target\":\" *.PyPI.org \"}]}", 200,
                  OK_BODY("enforcing"));
    fixture_expect_policy(&f, POLICY_BODY("enforcing", ALLOW("*.PyPI.org"), "deny"));
    client_expect(&f, "PUT", "/policy", "{\"defaultAction\":\"allow\"}", 200, OK_BODY("allow_all"));
    fixture_expect_policy(&f, POLICY_BODY("allow_all", "", "allow"));
    client_expect(&f, "PUT", "/policy", "null", 200, OK_BODY("deny_all"));
    ck_assert_uint_eq(f.n_changes, 3);
    fixture_expect_log(&f, "INFO updated egress policy updated egress.default=deny rules=[" ALLOW("*.PyPI.org") "]\n",
                       true);
}
END_TEST

START_TEST(blank_body_resets)
{
    client_expect(&f, "PUT", "/policy", "{\"defaultAction\":\"allow\"}", 200, OK_BODY("allow_all"));
    const char *reset = "{\"status\":\"ok\",\"mode\":\"deny_all\",\"reason\":\"policy reset to default deny-all\"}\n";
    client_expect(&f, _i ? "PUT" : "POST", "/policy", " \t\r\n", 200, reset);
    client_expect(&f, _i ? "PUT" : "POST", "/policy", NULL, 200, reset);
    fixture_expect_policy(&f, POLICY_BODY("deny_all", "", "deny"));
    fixture_expect_log(&f, "updated egress policy updated egress.default=deny rules=[]\n", true);
}
END_TEST

START_TEST(patch_puts_new_rules_in_front)
{
    client_expect(&f, "PUT", "/policy",
                  "{\"egress\":[" ALLOW("a.com") "," ALLOW("10.0.0.1") "," ALLOW("b.com") "," DENY("B.com") "]}", 200,
                  OK_BODY("enforcing"));
    client_expect(&f, "PATCH", "/policy", "[" DENY("A.com.") "," ALLOW("a.com") "," DENY("10.0.0.1/32") "]", 200,
                  OK_BODY("enforcing"));
    fixture_expect_policy(&f,
                          POLICY_BODY("enforcing", DENY("A.com.") "," DENY("10.0.0.1/32") "," ALLOW("b.com"), "deny"));
    fixture_expect_log(
        &f, "egress.default=deny rules=[" DENY("A.com.") "," ALLOW("a.com") "," DENY("10.0.0.1/32") "]\n", true);
}
END_TEST

START_TEST(delete_removes_by_target)
{
    client_expect(&f, "PUT", "/policy", "{\"egress\":[" ALLOW("a.com") "," DENY("b.com") "," ALLOW("A.COM") "]}", 200,
                  OK_BODY("enforcing"));
    client_expect(&f, "DELETE", "/policy", "[\"A.com.\",\"nowhere.com\"]", 200, OK_BODY("enforcing"));
    fixture_expect_policy(&f, POLICY_BODY("enforcing", DENY("b.com"), "deny"));
    client_expect(&f, "DELETE", "/policy", "[\"a.com\",\"https://x/\",\"\"]", 200,
                  "{\"status\":\"ok\",\"mode\":\"enforcing\",\"enforcementMode\":\"dns+nft\","
                  "\"reason\":\"no matching targets found\"}\n");
    ck_assert_uint_eq(f.n_changes, 2);
    fixture_expect_log(&f, "egress.default=deny rules=[" ALLOW("a.com") "," ALLOW("A.COM") "]\n", true);
}
END_TEST

static const struct {
    const char *method, *path, *body;
    int status;
    const char *text; /* ends in a newline: the whole answer; else its beginning */
    const char *log;  /* level of the egress.update_failed, or NULL: none */
} refusals[] = {
    {"PUT", "/policy", "{", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "[]", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "{} {}", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "true", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "{\"defaultAction\":1}", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "{\"defaultAction\":\"maybe\"}", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "{\"egress\":{}}", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "{\"egress\":[1]}", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "{\"egress\":[{\"action\":\"allow\"}]}", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "{\"egress\":[{\"action\":\"allow\",\"target\":5}]}", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "{\"egress\":[{\"action\":\"log\",\"target\":\"a.com\"}]}", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "{\"egress\":[{\"action\":\"deny\",\"target\":\"a b\"}]}", 400, "invalid policy: ", "WARN"},
    {"POST", "/policy", "{\"egress\":[{\"target\":\"a.com\",\"port\":1}]}", 400, "invalid policy: ", "WARN"},
    {"PATCH", "/policy", NULL, 400, "empty body\n", "WARN"},
    {"PATCH", "/policy", " \n", 400, "empty body\n", "WARN"},
    {"PATCH", "/policy", "[]", 400, "invalid patch rules: empty array\n", "WARN"},
    {"PATCH", "/policy", "{}", 400, "invalid patch rules: ", "WARN"},
    {"PATCH", "/policy", "[{\"action\":\"deny\",\"target\":\"\"}]", 400, "invalid patch rules: ", "WARN"},
    {"PATCH", "/policy", "[{\"action\":\"log\",\"target\":\"a.com\"}]", 400, "invalid merged policy: ", "WARN"},
    {"DELETE", "/policy", NULL, 400, "empty body\n", "WARN"},
    {"DELETE", "/policy", "[]", 400, "invalid delete targets: empty array\n", "WARN"},
    {"DELETE", "/policy", "[1]", 400, "invalid delete targets: ", "WARN"},
    {"HEAD", "/policy", NULL, 405, "", NULL},
    {"OPTIONS", "/policy", NULL, 405, "method not allowed\n", NULL},
    {"GET", "/", NULL, 404, "not found\n", NULL},
    {"POST", "/policy/", "{}", 404, "not found\n", NULL},
    {"GET", "/policyx", NULL, 404, "not found\n", NULL},
    {"GET", "/policy%00x", NULL, 404, "not found\n", NULL},
    {"GET", "/credential-vault", NULL, 404, "not found\n", NULL},
    {"GET", "/credential-vault/a", NULL, 404, "not found\n", NULL},
    {"POST", "/credential-vault", "{}", 412, "credential proxy is not enabled\n", NULL},
    {"PATCH", "/credential-vault/a", "{}", 412, "credential proxy is not enabled\n", NULL},
    {"DELETE", "/credential-vault/a", NULL, 412, "credential proxy is not enabled\n", NULL},
    {"GET", "/credential-vault/_active", NULL, 403, "forbidden\n", NULL},
    {"PUT", "/credential-vault/_active", "x", 403, "forbidden\n", NULL},
    {"PUT", "/credential-vault", "x", 405, "method not allowed\n", NULL},
    {"POST", "/healthz", "x", 405, "method not allowed\n", NULL},
};

START_TEST(refused)
{
    struct answer answer = client_call(&f, refusals[_i].method, refusals[_i].path, NULL, refusals[_i].body);
    ck_assert_int_eq(answer.status, refusals[_i].status);
    size_t len = strlen(refusals[_i].text);
    bool whole = len && refusals[_i].text[len - 1] == '\n';
    ck_assert_msg(strncmp(answer.body.data, refusals[_i].text, len) == 0 && (!whole || answer.body.len == len), "%s",
                  answer.body.data);
    char *line_break = strchr(answer.body.data, '\n');
    ck_assert(!answer.body.len || line_break == answer.body.data + answer.body.len - 1);
    _cleanup_free_ char *type = answer_header(&answer, "Content-Type");
    ck_assert_str_eq(type, "text/plain; charset=utf-8");
    if (answer.status == 405) {
        _cleanup_free_ char *allow = answer_header(&answer, "Allow");
        ck_assert_str_eq(allow, strstr(refusals[_i].path, "policy")    ? "GET, POST, PUT, PATCH, DELETE"
                                : strstr(refusals[_i].path, "healthz") ? "GET, HEAD"
                                                                       : "GET, POST, PATCH, DELETE");
    }
    fixture_expect_policy(&f, POLICY_BODY("deny_all", "", "deny"));
    ck_assert_uint_eq(f.n_changes, 0);
    if (refusals[_i].log) {
        char record[4096];
        snprintf(record, sizeof(record), "%s update_failed egress policy update failed error=%s", refusals[_i].log,
                 answer.body.data);
        fixture_expect_log(&f, record, true);
    } else {
        fixture_expect_log(&f, "update_failed", false);
    }
    buf_done(&answer.body);
}
END_TEST

START_TEST(too_many_rules)
{
    fixture_stop(&f);
    fixture_start(&f, (struct api_settings){.max_rules = 2});
    client_expect(&f, "PUT", "/policy", "{\"egress\":[" ALLOW("a") "," ALLOW("b") "," ALLOW("c") "]}", 413,
                  "egress rule total count 3 exceeds limit 2\n");
    client_expect(&f, "PUT", "/policy", "{\"egress\":[" ALLOW("a") "," ALLOW("b") "]}", 200, OK_BODY("enforcing"));
    client_expect(&f, "PATCH", "/policy", "[" ALLOW("c") "," ALLOW("a") "]", 413,
                  "egress rule total count 3 exceeds limit 2\n");
    client_expect(&f, "PATCH", "/policy", "[" DENY("a") "]", 200, OK_BODY("enforcing"));
    fixture_expect_log(
        &f, "WARN update_failed egress policy update failed error=egress rule total count 3 exceeds limit 2\n", true);
}
END_TEST

START_TEST(token_guards_policy_and_vault)
{
    fixture_stop(&f);
    fixture_start(&f, (struct api_settings){.token = "s3cret"});
    static const char *const bad[] = {NULL, "OPENSANDBOX-EGRESS-AUTH: \r\n", "OPENSANDBOX-EGRESS-AUTH: s3cre\r\n",
                                      "OPENSANDBOX-EGRESS-AUTH: s3crets3cret\r\n", "Authorization: s3cret\r\n"};
    static const char *const guarded[] = {"/policy", "/credential-vault", "/credential-vault/_active"};
    for (size_t p = 0; p < 3; p++)
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
            struct answer answer = client_call(&f, i % 2 ? "GET" : "PUT", guarded[p], bad[i], "{}");
            ck_assert_int_eq(answer.status, 401);
            ck_assert_str_eq(answer.body.data, "unauthorized\n");
            buf_done(&answer.body);
        }
    struct answer answer = client_call(&f, "PUT", "/policy", "opensandbox-egress-auth: s3cret\r\n", "{}");
    ck_assert_int_eq(answer.status, 200);
    buf_done(&answer.body);
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    client_expect(&f, "GET", "/elsewhere", NULL, 404, "not found\n");
    ck_assert_uint_eq(f.n_changes, 1);
    fixture_expect_log(&f,
                       "INFO - api request http.request.method=PUT http.route=/policy http.response.status_code=401 "
                       "duration=SECONDS\n",
                       true);
}
END_TEST

START_TEST(healthz_tells_the_truth)
{
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    struct answer answer = client_call(&f, "HEAD", "/healthz", NULL, NULL);
    ck_assert_int_eq(answer.status, 200);
    buf_done(&answer.body);
    f.healthy = false;
    client_expect(&f, "GET", "/healthz", NULL, 503, "the table is gone\n");
    answer = client_call(&f, "HEAD", "/healthz", NULL, NULL);
    ck_assert_int_eq(answer.status, 503);
    buf_done(&answer.body);
    fixture_expect_log(
        &f, "DEBUG - api request http.request.method=GET http.route=/healthz http.response.status_code=503", true);
}
END_TEST

START_TEST(healthz_that_may_be_old_asks_the_loop)
{
    f.health_is_old = true;
    client_expect(&f, "GET", "/healthz", NULL, 503, "the table is gone\n");
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    ck_assert_uint_eq(f.n_questions, 2);
    f.health_is_old = false;
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    ck_assert_uint_eq(f.n_questions, 2);
}
END_TEST

START_TEST(livez_is_about_the_process_alone)
{
    f.healthy = false;
    fixture_hold(&f);
    client_expect(&f, "GET", "/livez", NULL, 200, "ok");
    f.hangs = true;
    client_expect(&f, "GET", "/livez", NULL, 503, "the loop hangs\n");
    struct answer answer = client_call(&f, "HEAD", "/livez", NULL, NULL);
    ck_assert_int_eq(answer.status, 503);
    buf_done(&answer.body);
}
END_TEST

START_TEST(access_records_keep_strangers_text_out)
{
    client_expect(&f, "GET", "/%22%0a/../etc", NULL, 404, "not found\n");
    client_expect(&f, "BREW", "/policy", NULL, 405, "method not allowed\n");
    fixture_expect_log(&f,
                       "INFO - api request http.request.method=GET http.route=other http.response.status_code=404 "
                       "duration=SECONDS\n"
                       "INFO - api request http.request.method=_OTHER http.route=/policy http.response.status_code=405 "
                       "duration=SECONDS\n",
                       true);
}
END_TEST

START_TEST(long_rule_lists_are_logged_as_a_digest)
{
    _cleanup_buf_ struct buf body = {0};
    buf_puts(&body, "[");
    for (unsigned i = 0; i < 300; i++)
        buf_printf(&body, "%s" ALLOW("host%u.example"), i ? "," : "", i);
    buf_puts(&body, "]");
    client_expect(&f, "PATCH", "/policy", body.data, 200, OK_BODY("enforcing"));
    fixture_expect_log(&f, "egress.default=deny rules_count=300 rules_digest=", true);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("api");
    TCase *tcase = tcase_create("api");
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, get_shows_the_policy_in_force);
    tcase_add_test(tcase, post_and_put_replace);
    tcase_add_loop_test(tcase, blank_body_resets, 0, 2);
    tcase_add_test(tcase, patch_puts_new_rules_in_front);
    tcase_add_test(tcase, delete_removes_by_target);
    tcase_add_loop_test(tcase, refused, 0, sizeof(refusals) / sizeof(refusals[0]));
    tcase_add_test(tcase, too_many_rules);
    tcase_add_test(tcase, token_guards_policy_and_vault);
    tcase_add_test(tcase, healthz_tells_the_truth);
    tcase_add_test(tcase, healthz_that_may_be_old_asks_the_loop);
    tcase_add_test(tcase, livez_is_about_the_process_alone);
    tcase_add_test(tcase, access_records_keep_strangers_text_out);
    tcase_add_test(tcase, long_rule_lists_are_logged_as_a_digest);
    suite_add_tcase(suite, tcase);
    return suite;
}
