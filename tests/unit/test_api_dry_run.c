/* ?dryRun=true: the way of a real change, and nothing is changed. */
#include "api_fixture.h"
#include "runner.h"
#include "scratch.h"

#include "base/cleanup.h"

#define FORECAST(mode, action, added, removed, reordered)                                                              \
    "{\"status\":\"ok\",\"dryRun\":true,\"mode\":\"" mode "\",\"enforcementMode\":\"dns+nft\","                        \
    "\"defaultAction\":\"" action "\",\"added\":[" added "],\"removed\":[" removed "],\"reordered\":" reordered ","    \
    "\"revoked\":" FIXTURE_REVOKED ",\"revokedTotal\":1,\"flows\":" FIXTURE_FLOWS ",\"flowsTotal\":2}\n"
#define BEFORE "{\"egress\":[" ALLOW("a.com") "," ALLOW("b.com") "]}"
#define BEFORE_BODY POLICY_BODY("enforcing", ALLOW("a.com") "," ALLOW("b.com"), "deny")

static struct fixture f;
static struct scratch scratch;

static void start(void)
{
    scratch_make(&scratch);
    fixture_start(&f, (struct api_settings){.max_rules = 3, .policy_file = scratch_path(&scratch, "policy.json")});
    client_expect(&f, "PUT", "/policy", BEFORE, 200, OK_BODY("enforcing"));
}

static void stop(void)
{
    fixture_stop(&f);
    scratch_remove(&scratch);
}

static const struct {
    const char *method, *path, *body;
    int status;
    const char *answer;
} tries[] = {
    {"POST", "/policy?dryRun=true", "{\"defaultAction\":\"allow\",\"egress\":[" ALLOW("b.com") "," DENY("c.com") "]}",
     200, FORECAST("enforcing", "allow", DENY("c.com"), ALLOW("a.com"), "false")},
    {"PUT", "/policy?dryrun=1", "", 200, FORECAST("deny_all", "deny", "", ALLOW("a.com") "," ALLOW("b.com"), "false")},
    {"PATCH", "/policy?x&dryRun=yes", "[" ALLOW("b.com") "]", 200, FORECAST("enforcing", "deny", "", "", "true")},
    {"DELETE", "/policy?dryRun=true", "[\"B.com\"]", 200, FORECAST("enforcing", "deny", "", ALLOW("b.com"), "false")},
    {"DELETE", "/policy?dryRun=true", "[\"c.com\"]", 200, FORECAST("enforcing", "deny", "", "", "false")},
    {"POST", "/policy?dryRun=true", "{\"egress\":[" ALLOW("a") "," ALLOW("b") "," ALLOW("c") "," ALLOW("d") "]}", 413,
     "egress rule total count 4 exceeds limit 3\n"},
    {"PATCH", "/policy?dryRun=true", "[" ALLOW("c") "," ALLOW("d") "]", 413,
     "egress rule total count 4 exceeds limit 3\n"},
    {"PATCH", "/policy?dryRun=true", "", 400, "empty body\n"},
    {"DELETE", "/policy?dryRun=true", "[]", 400, "invalid delete targets: empty array\n"},
    /* Never a real change when it is not clear what was meant. */
    {"POST", "/policy?dryRun=maybe", "", 400, "dryRun: expected true or false\n"},
    {"POST", "/policy?dryRun", "", 400, "dryRun: expected true or false\n"},
    {"POST", "/policy?dryRun=", "", 400, "dryRun: expected true or false\n"},
};

START_TEST(changes_nothing)
{
    unsigned n_changes = f.n_changes;
    client_expect(&f, tries[_i].method, tries[_i].path, tries[_i].body, tries[_i].status, tries[_i].answer);
    client_expect(&f, "GET", "/policy?dryRun=true", NULL, 200, BEFORE_BODY);
    ck_assert_uint_eq(f.n_changes, n_changes);
    _cleanup_free_ char *file = scratch_read(scratch_path(&scratch, "policy.json"));
    ck_assert_ptr_nonnull(strstr(file, ALLOW("a.com") "," ALLOW("b.com")));
    /* The PUT at the start is the only record of a change, failed or not. */
    fixture_expect_log(&f, "egress policy updated", true);
    _cleanup_free_ char *policy = fixture_in_force(&f);
    ck_assert_ptr_nonnull(strstr(policy, "b.com"));
}
END_TEST

START_TEST(leaves_no_record)
{
    fixture_stop(&f);
    fixture_start(&f, (struct api_settings){0});
    client_expect(&f, "POST", "/policy?dryRun=true", "{\"egress\":[" ALLOW("a.com") "]}", 200,
                  FORECAST("enforcing", "deny", ALLOW("a.com"), "", "false"));
    client_expect(&f, "PATCH", "/policy?dryRun=true", "[]", 400, "invalid patch rules: empty array\n");
    fixture_expect_log(&f, "egress policy", false);
}
END_TEST

START_TEST(false_is_a_real_change)
{
    client_expect(&f, "PATCH", "/policy?dryRun=false", "[" DENY("c.com") "]", 200, OK_BODY("enforcing"));
    fixture_expect_policy(&f, POLICY_BODY("enforcing", DENY("c.com") "," ALLOW("a.com") "," ALLOW("b.com"), "deny"));
}
END_TEST

START_TEST(stale_if_match)
{
    struct answer answer = client_call(&f, "POST", "/policy?dryRun=true", "If-Match: \"other\"\r\n", "");
    ck_assert_int_eq(answer.status, 412);
    buf_done(&answer.body);
}
END_TEST

START_TEST(waits_its_turn)
{
    fixture_hold(&f);
    unsigned n_changes = f.n_changes;
    int change = client_connect(&f), trial = client_connect(&f);
    client_send(change, "PATCH", "/policy", NULL, "[" DENY("c.com") "]", strlen("[" DENY("c.com") "]"));
    fixture_wait_changes(&f, n_changes + 1);
    client_send(trial, "DELETE", "/policy?dryRun=true", NULL, "[\"c.com\"]", 9);
    client_expect(&f, "GET", "/healthz", NULL, 200, "ok");
    fixture_release(&f);
    client_expect_answer(change, 200, OK_BODY("enforcing"));
    client_expect_answer(trial, 200, FORECAST("enforcing", "deny", "", DENY("c.com"), "false"));
    close(change);
    close(trial);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("api_dry_run");
    TCase *tcase = tcase_create("api_dry_run");
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, changes_nothing, 0, sizeof(tries) / sizeof(tries[0]));
    tcase_add_test(tcase, leaves_no_record);
    tcase_add_test(tcase, false_is_a_real_change);
    tcase_add_test(tcase, stale_if_match);
    tcase_add_test(tcase, waits_its_turn);
    suite_add_tcase(suite, tcase);
    return suite;
}
