/* The comparison of tokens: what is equal, and that its work does not tell where two tokens differ. */
#include "api/auth.h"

#include "runner.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOKEN "correct-horse-battery-staple-0123456789"

START_TEST(only_the_token_is_equal)
{
    static const char *const others[] = {"",        "c",         "correct",
                                         TOKEN "0", TOKEN TOKEN, "Correct-horse-battery-staple-0123456789"};
    ck_assert(auth_token_equal(TOKEN, TOKEN));
    ck_assert(!auth_token_equal(TOKEN, NULL));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        ck_assert_msg(!auth_token_equal(TOKEN, others[i]), "%s", others[i]);
    ck_assert(!auth_token_equal("", "x"));
}
END_TEST

/* How many instructions a comparison takes: a child runs it one by one. */
static unsigned instructions(const char *given)
{
    static char buffer[sizeof(TOKEN)]; /* at one place, since what strlen() does depends on it */
    strcpy(buffer, given);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (!child) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        auth_token_equal(TOKEN, buffer); /* so that the linker has found strlen() */
        raise(SIGSTOP);
        auth_token_equal(TOKEN, buffer);
        raise(SIGSTOP);
        _exit(0);
    }
    int status;
    unsigned n = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFSTOPPED(status), "the child cannot be traced");
    do {
        ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        n++;
    } while (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    ck_assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return n;
}

START_TEST(no_instruction_less_for_an_early_difference)
{
    char given[] = TOKEN;
    unsigned equal = instructions(given);
    for (size_t i = 0; i < sizeof(TOKEN) - 1; i += 6) {
        given[i] ^= 1;
        ck_assert_uint_eq(instructions(given), equal);
        given[i] ^= 1;
    }
    memset(given, 'x', sizeof(given) - 1);
    ck_assert_uint_eq(instructions(given), equal);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("auth");
    TCase *tcase = tcase_create("token");
    tcase_add_test(tcase, only_the_token_is_equal);
    tcase_add_test(tcase, no_instruction_less_for_an_early_difference);
    suite_add_tcase(suite, tcase);
    return suite;
}
