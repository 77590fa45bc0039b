#include "base/mailbox.h"
#include "tests/unit/runner.h"

#include <pthread.h>
#include <stdlib.h>

#define THREADS 4
#define LETTERS 100000

static struct loop *loop;
static struct mailbox *box;

struct letter {
    struct mail mail;
    int thread, number;
};

struct office {
    int next[THREADS]; /* the number that comes next from each thread */
    int delivered;
};

static struct office office;

static void setup(void)
{
    office = (struct office){0};
    ck_assert_int_eq(loop_new(&loop), 0);
    ck_assert_int_eq(mailbox_new(loop, &office, &box), 0);
}

static void teardown(void)
{
    mailbox_free(box);
    loop_free(loop);
}

static void deliver(struct mail *mail, void *ctx)
{
    struct letter *letter = (struct letter *)mail;
    struct office *at = ctx;
    ck_assert_int_eq(letter->number, at->next[letter->thread]++);
    free(letter);
    if (++at->delivered == THREADS * LETTERS)
        loop_stop(loop);
}

static void *post_many(void *arg)
{
    for (int i = 0; i < LETTERS; i++) {
        struct letter *letter = malloc(sizeof(*letter));
        *letter = (struct letter){.mail = {.deliver = deliver}, .thread = (int)(intptr_t)arg, .number = i};
        mailbox_post(box, &letter->mail);
    }
    return NULL;
}

START_TEST(letters_of_many_threads_arrive_once_and_in_order)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, post_many, (void *)(intptr_t)i), 0);
    ck_assert_int_eq(loop_run(loop), 0);
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_int_eq(office.next[i], LETTERS);
    }
}
END_TEST

static void deliver_reply(struct mail *mail, void *ctx)
{
    loop_stop(loop);
}

static struct mail reply = {.deliver = deliver_reply};

static void deliver_question(struct mail *mail, void *ctx)
{
    mailbox_post(box, &reply);
}

/* Hangs, and ends by the time limit, when the second letter is not delivered. */
START_TEST(a_letter_posted_while_another_is_delivered_arrives)
{
    struct mail question = {.deliver = deliver_question};
    mailbox_post(box, &question);
    ck_assert_int_eq(loop_run(loop), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("mailbox");
    TCase *tc = tcase_create("mailbox");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, letters_of_many_threads_arrive_once_and_in_order);
    tcase_add_test(tc, a_letter_posted_while_another_is_delivered_arrives);
    suite_add_tcase(suite, tc);
    return suite;
}
