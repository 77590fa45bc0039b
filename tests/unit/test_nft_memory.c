/* Transactions for which memory runs out. libnftnl's functions that allocate are replaced by ones that fail once. */
#include "base/ip.h"
#include "nft/plan.h"
#include "runner.h"

#include <dlfcn.h>
#include <errno.h>
#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>

static size_t calls, failing; /* the call with this number fails; 0: none */

/* libnftnl's function of this name, or NULL when it is to fail. */
static void *real(const char *name)
{
    if (++calls == failing)
        return NULL;
    void *function = dlsym(RTLD_NEXT, name);
    ck_assert_ptr_nonnull(function);
    return function;
}

struct nftnl_table *nftnl_table_alloc(void)
{
    struct nftnl_table *(*function)(void) = real(__func__);
    return function ? function() : NULL;
}

struct nftnl_chain *nftnl_chain_alloc(void)
{
    struct nftnl_chain *(*function)(void) = real(__func__);
    return function ? function() : NULL;
}

struct nftnl_set *nftnl_set_alloc(void)
{
    struct nftnl_set *(*function)(void) = real(__func__);
    return function ? function() : NULL;
}

struct nftnl_rule *nftnl_rule_alloc(void)
{
    struct nftnl_rule *(*function)(void) = real(__func__);
    return function ? function() : NULL;
}

struct nftnl_expr *nftnl_expr_alloc(const char *name)
{
    struct nftnl_expr *(*function)(const char *) = real(__func__);
    return function ? function(name) : NULL;
}

int nftnl_table_set_str(struct nftnl_table *table, uint16_t attr, const char *text)
{
    int (*function)(struct nftnl_table *, uint16_t, const char *) = real(__func__);
    return function ? function(table, attr, text) : -1;
}

int nftnl_chain_set_str(struct nftnl_chain *chain, uint16_t attr, const char *text)
{
    int (*function)(struct nftnl_chain *, uint16_t, const char *) = real(__func__);
    return function ? function(chain, attr, text) : -1;
}

int nftnl_set_set_str(struct nftnl_set *set, uint16_t attr, const char *text)
{
    int (*function)(struct nftnl_set *, uint16_t, const char *) = real(__func__);
    return function ? function(set, attr, text) : -1;
}

int nftnl_rule_set_str(struct nftnl_rule *rule, uint16_t attr, const char *text)
{
    int (*function)(struct nftnl_rule *, uint16_t, const char *) = real(__func__);
    return function ? function(rule, attr, text) : -1;
}

int nftnl_expr_set_str(struct nftnl_expr *expr, uint16_t attr, const char *text)
{
    int (*function)(struct nftnl_expr *, uint16_t, const char *) = real(__func__);
    return function ? function(expr, attr, text) : -1;
}

static void install(struct batch *batch)
{
    struct sock_addr upstreams[2];
    sock_addr_parse("127.0.0.1:5353", 53, &upstreams[0]);
    sock_addr_parse("9.9.9.9:5454", 53, &upstreams[1]);
    const struct ip_addr exempt = {AF_INET, {9, 9, 9, 9}};
    static struct metrics counts;
    const struct nft_settings settings = {.filter = true,
                                          .metrics = &counts,
                                          .dns_port = 15353,
                                          .mark = 1,
                                          .upstreams = upstreams,
                                          .n_upstreams = 2,
                                          .exempt = &exempt,
                                          .n_exempt = 1,
                                          .block_doh_443 = true,
                                          .max_addresses = 1000};
    plan_install(batch, &settings, &(struct nft_policy){0}, 0);
}

static void close_all(struct batch *batch)
{
    plan_closed(batch, 0);
}

static void change_policy(struct batch *batch)
{
    plan_policy(batch, &(struct nft_settings){0}, &(struct nft_policy){.default_allow = true}, &(struct nft_policy){0},
                false);
}

static int build(struct batch *batch, void (*plan)(struct batch *batch), size_t failing_call)
{
    calls = 0;
    failing = failing_call;
    batch_begin(batch);
    plan(batch);
    return batch_end(batch);
}

static void (*const plans[])(struct batch *batch) = {install, change_policy, plan_remove, close_all, plan_shut};

/* Whatever fails is reported, is no leak, and is forgotten when the next transaction begins. */
START_TEST(every_failure_is_reported)
{
    _cleanup_batch_ struct batch *batch = NULL;
    ck_assert_int_eq(batch_new(&batch), 0);
    ck_assert_int_eq(build(batch, plans[_i], 0), 0);
    size_t n = calls;
    ck_assert_uint_gt(n, 3);
    for (size_t i = 1; i <= n; i++)
        ck_assert_msg(build(batch, plans[_i], i) == -ENOMEM, "call %zu of %zu", i, n);
    ck_assert_int_eq(build(batch, plans[_i], 0), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("nft_memory");
    TCase *tests = tcase_create("memory");
    tcase_set_timeout(tests, 30);
    tcase_add_loop_test(tests, every_failure_is_reported, 0, sizeof(plans) / sizeof(plans[0]));
    suite_add_tcase(suite, tests);
    return suite;
}
