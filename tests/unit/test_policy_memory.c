/* Policies for which memory runs out: every allocation fails once. What is asked for is whole or -ENOMEM, and what
 * there was stays what it was. The allocators are replaced by the linker (meson.build). */
#include "policy/policy_json.h"
#include "rules.h"
#include "runner.h"

#include <errno.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

static bool counting;         /* check allocates, too */
static size_t calls, failing; /* the call with this number fails */

static bool fails(void)
{
    return counting && ++calls == failing;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

static const char json[] = "{\"defaultAction\":\"allow\",\"egress\":[{\"action\":\"deny\",\"target\":\"*.b.test\"},"
                           "{\"action\":\"allow\",\"target\":\"10.0.0.0/8\"},{\"target\":\"fd00::/8\"},"
                           "{\"action\":\"allow\",\"target\":\"b\xc3\xbc"
                           "cher.test\"}]}";
static const char base_words[] = "+a.test -*.b.test +10.0.0.0/8 -10.1.0.0/16 +fd00::/8";

/* Does it once; 0 or an error. Frees what it made. Nothing fails once it has stopped counting. */
typedef int work_fn(void);

static int read_policy(void)
{
    _cleanup_policy_ struct policy *policy = NULL;
    struct why why;
    int error = policy_from_json(json, sizeof(json) - 1, 0, &policy, &why);
    counting = false;
    ck_assert_int_eq(!policy, !!error);
    if (!error)
        ck_assert_uint_eq(policy_count(policy), 4);
    return error;
}

static struct policy *base;
static struct rule_list *words;

static int patch(void)
{
    _cleanup_policy_ struct policy *policy = NULL;
    int error = policy_patch(base, words, &policy);
    counting = false;
    ck_assert_int_eq(!policy, !!error);
    if (!error)
        ck_assert_uint_eq(policy_count(policy), 6);
    return error;
}

static int take_away(void)
{
    _cleanup_policy_ struct policy *policy = NULL;
    _cleanup_rules_ struct rule_list *removed = NULL;
    int error = policy_remove(base, words, &policy, &removed);
    counting = false;
    ck_assert(!policy == !!error && !removed == !!error);
    if (!error)
        ck_assert_uint_eq(policy_count(policy), 3);
    return error;
}

static int differ(void)
{
    _cleanup_policy_ struct policy *other = NULL;
    struct policy_diff diff = {0};
    int error = policy_patch(base, words, &other);
    if (!error)
        error = policy_diff(base, other, &diff);
    counting = false;
    if (!error)
        ck_assert(rule_list_count(diff.added) == 3 && rule_list_count(diff.removed) == 2);
    policy_diff_done(&diff);
    return error;
}

static int write_down(void)
{
    _cleanup_(buf_done) struct buf text = {0};
    policy_to_json(base, &text);
    counting = false;
    return text.failed ? -ENOMEM : 0;
}

static void check_every_failure(work_fn *work)
{
    size_t failures = 0;
    for (failing = 1;; failing++, failures++) {
        calls = 0;
        counting = true;
        int error = work();
        if (calls < failing) { /* none was left to fail */
            ck_assert_int_eq(error, 0);
            break;
        }
        ck_assert_int_eq(error, -ENOMEM);
        ck_assert_uint_eq(policy_count(base), 5);
    }
    ck_assert_uint_gt(failures, 0);
}

START_TEST(memory_that_runs_out_is_an_error_and_changes_nothing)
{
    static work_fn *const works[] = {read_policy, patch, take_away, differ, write_down};
    base = policy_of(ACTION_DENY, base_words);
    words = rules_of("-A.test +c.test -10.0.0.0/8");
    check_every_failure(works[_i]);
    policy_unref(base);
    rule_list_free(words);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("policy_memory");
    TCase *tcase = tcase_create("policy_memory");
    tcase_add_loop_test(tcase, memory_that_runs_out_is_an_error_and_changes_nothing, 0, 5);
    suite_add_tcase(suite, tcase);
    return suite;
}
