/* A policy change is all or nothing: kernel, memory and file; and nobody's update is lost. */
#include "api_fixture.h"
#include "runner.h"
#include "scratch.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SOME_RULES "{\"egress\":[" ALLOW("a.com") "],\"defaultAction\":\"deny\"}"

static struct fixture f;
static struct scratch folder;
static char file[SCRATCH_PATH_MAX];

static void start(void)
{
    scratch_make(&folder);
    snprintf(file, sizeof(file), "%s", scratch_path(&folder, "policy.json"));
    fixture_start(&f, (struct api_settings){.policy_file = file});
}

static void stop(void)
{
    fixture_stop(&f);
    scratch_remove(&folder);
}

/* The file has this content, and nothing lies beside it. */
static void expect_file(const char *content)
{
    _cleanup_free_ char *text = scratch_read(file);
    ck_assert_str_eq(text, content);
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_int_eq(rmdir(folder.folder), 0);
    ck_assert_int_eq(mkdir(folder.folder, 0700), 0);
}

START_TEST(accepted_change_is_everywhere)
{
    client_expect(&f, "PUT", "/policy", SOME_RULES, 200, OK_BODY("enforcing"));
    fixture_expect_policy(&f, POLICY_BODY("enforcing", ALLOW("a.com"), "deny"));
    struct stat st;
    ck_assert_int_eq(stat(file, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    expect_file(SOME_RULES "\n");
    fixture_expect_log(&f, "INFO updated egress policy updated", true);
    _cleanup_free_ char *kernel = fixture_in_force(&f);
    ck_assert_str_eq(kernel, SOME_RULES);
    ck_assert_uint_eq(f.n_settled, 1);
}
END_TEST

START_TEST(failed_apply_leaves_everything)
{
    client_expect(&f, "PUT", "/policy", SOME_RULES, 200, OK_BODY("enforcing"));
    f.error = -ENOSPC;
    client_expect(&f, "PUT", "/policy", "", 500, "failed to apply nftables policy: no room in the kernel\n");
    client_expect(&f, "DELETE", "/policy", "[\"a.com\"]", 500,
                  "failed to apply nftables policy: no room in the kernel\n");
    ck_assert_uint_eq(f.n_settled, 1); /* the one before */
    fixture_expect_policy(&f, POLICY_BODY("enforcing", ALLOW("a.com"), "deny"));
    expect_file(SOME_RULES "\n");
    fixture_expect_log(
        &f, "ERROR update_failed egress policy update failed error=failed to apply nftables policy: no room", true);
}
END_TEST

START_TEST(failed_write_reaches_no_kernel)
{
    scratch_remove(&folder);
    struct answer answer = client_call(&f, "PUT", "/policy", NULL, SOME_RULES);
    scratch_make(&folder);
    ck_assert_int_eq(answer.status, 500);
    ck_assert_msg(strncmp(answer.body.data, "failed to persist policy: ", 26) == 0, "%s", answer.body.data);
    ck_assert_uint_gt(answer.body.len, 27);
    buf_done(&answer.body);
    ck_assert_uint_eq(f.n_changes, 0);
    fixture_expect_policy(&f, POLICY_BODY("deny_all", "", "deny"));
}
END_TEST

/* The folder vanishes between the write aside and the rename. `_i` = 1: and the kernel does not take the old back. */
START_TEST(failed_rename_puts_the_kernel_back)
{
    fixture_hold(&f);
    if (_i) {
        f.error = -EIO;
        f.fail_after = 1;
    }
    _cleanup_close_ int fd = client_connect(&f);
    client_send(fd, "PUT", "/policy", NULL, SOME_RULES, strlen(SOME_RULES));
    fixture_wait_changes(&f, 1);
    scratch_remove(&folder);
    fixture_release(&f);
    struct answer answer = client_read(fd, false);
    scratch_make(&folder);
    ck_assert_int_eq(answer.status, 500);
    ck_assert_msg(strncmp(answer.body.data, "failed to persist policy: ", 26) == 0, "%s", answer.body.data);
    ck_assert((strstr(answer.body.data, "no room in the kernel") != NULL) == (_i == 1));
    buf_done(&answer.body);
    ck_assert_uint_eq(f.n_changes, 2);
    ck_assert_uint_eq(f.n_settled, 0);
    fixture_expect_policy(&f, POLICY_BODY("deny_all", "", "deny"));
    fixture_expect_log(&f, "ERROR update_failed egress policy update failed error=failed to persist policy", true);
    _cleanup_free_ char *kernel = fixture_in_force(&f);
    ck_assert_str_eq(kernel, _i ? SOME_RULES : "{\"egress\":[],\"defaultAction\":\"deny\"}");
}
END_TEST

static int call_if(const char *method, const char *header, const char *tag, const char *body, char **ret_etag)
{
    char line[256];
    snprintf(line, sizeof(line), "%s: %s\r\n", header, tag);
    struct answer answer = client_call(&f, method, "/policy", line, body);
    if (ret_etag)
        *ret_etag = answer_header(&answer, "ETag");
    buf_done(&answer.body);
    return answer.status;
}

START_TEST(etag_guards_against_lost_updates)
{
    _cleanup_free_ char *first = NULL, *second = NULL, *again = NULL;
    ck_assert_int_eq(call_if("GET", "X", "x", NULL, &first), 200);
    ck_assert_uint_eq(strlen(first), 34);
    ck_assert_int_eq(call_if("GET", "If-None-Match", first, NULL, NULL), 304);
    ck_assert_int_eq(call_if("PATCH", "If-Match", first, "[" ALLOW("a.com") "]", NULL), 200);
    ck_assert_int_eq(call_if("PATCH", "If-Match", first, "[" ALLOW("b.com") "]", NULL), 412);
    ck_assert_int_eq(call_if("PATCH", "If-Match", "\"no\", W/\"x\"", "[" ALLOW("b.com") "]", NULL), 412);
    ck_assert_int_eq(call_if("GET", "If-None-Match", first, NULL, &second), 200);
    ck_assert_str_ne(first, second);
    char list[128];
    snprintf(list, sizeof(list), "W/%s", second);
    ck_assert_int_eq(call_if("PUT", "If-Match", list, "", NULL), 412);
    snprintf(list, sizeof(list), "\"a,b\" , %s", second);
    ck_assert_int_eq(call_if("DELETE", "If-Match", list, "[\"a.com\"]", NULL), 200);
    ck_assert_int_eq(call_if("PUT", "If-Match", "*", "", NULL), 200);
    /* The tag is made of the content: the same policy has it again. */
    ck_assert_int_eq(call_if("GET", "X", "x", NULL, &again), 200);
    ck_assert_str_eq(first, again);
    fixture_expect_log(&f, "update_failed", false);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("api_commit");
    TCase *tcase = tcase_create("api_commit");
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, accepted_change_is_everywhere);
    tcase_add_test(tcase, failed_apply_leaves_everything);
    tcase_add_test(tcase, failed_write_reaches_no_kernel);
    tcase_add_loop_test(tcase, failed_rename_puts_the_kernel_back, 0, 2);
    tcase_add_test(tcase, etag_guards_against_lost_updates);
    suite_add_tcase(suite, tcase);
    return suite;
}
