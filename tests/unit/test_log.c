#include "base/log.h"
#include "tests/unit/random.h"
#include "tests/unit/runner.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static struct log *new_log(size_t capacity)
{
    struct log *log;
    ck_assert_int_eq(log_new(capacity, LOG_INFO, &log), 0);
    return log;
}

static void record_number(struct log *log, int64_t number)
{
    if (!log_begin(log, LOG_INFO, LOG_PLAIN, "number"))
        return;
    log_int(log, "n", number);
    log_end(log);
}

static int64_t take_number(struct log *log)
{
    struct log_record record;
    struct log_field field;
    ck_assert(log_peek(log, &record));
    ck_assert(log_field_next(&record, &field));
    ck_assert_str_eq(field.key, "n");
    ck_assert_int_eq(field.type, LOG_INT);
    ck_assert(!log_field_next(&record, &field));
    log_pop(log);
    return field.integer;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

START_TEST(every_kind_of_field_comes_back)
{
    static const char with_nul[] = "a\0b";
    static const uint8_t name[] = "\3www\7example";
    struct log *log = new_log(4096);
    struct ip_addr ips[2];
    ck_assert_int_eq(ip_parse("192.0.2.1", &ips[0]), 0);
    ck_assert_int_eq(ip_parse("2001:db8::1", &ips[1]), 0);
    int64_t before = now_ns();
    ck_assert(log_begin(log, LOG_WARN, LOG_DENIED, "message"));
    log_str(log, "str", with_nul, 3);
    log_int(log, "int", INT64_MIN);
    log_double(log, "double", 0.125);
    log_name(log, "name", name, sizeof(name));
    log_ips(log, "ips", ips, 2);
    log_json(log, "json", "[1]", 3);
    log_str(log, "empty", NULL, 0);
    log_end(log);

    struct log_record record;
    struct log_field f;
    ck_assert(log_peek(log, &record));
    ck_assert_int_eq(record.level, LOG_WARN);
    ck_assert_int_eq(record.event, LOG_DENIED);
    ck_assert_str_eq(record.msg, "message");
    ck_assert_int_ge(record.time_ns, before);
    ck_assert_int_le(record.time_ns, now_ns());
    ck_assert(log_field_next(&record, &f) && f.type == LOG_STR && f.len == 3 && !memcmp(f.data, with_nul, 3));
    ck_assert_str_eq(f.key, "str");
    ck_assert(log_field_next(&record, &f) && f.type == LOG_INT && f.integer == INT64_MIN);
    ck_assert(log_field_next(&record, &f) && f.type == LOG_DOUBLE && f.number == 0.125);
    ck_assert(log_field_next(&record, &f) && f.type == LOG_NAME && f.len == sizeof(name));
    ck_assert_mem_eq(f.data, name, sizeof(name));
    ck_assert(log_field_next(&record, &f) && f.type == LOG_IPS && f.len == sizeof(ips));
    ck_assert_mem_eq(f.data, ips, sizeof(ips));
    ck_assert(log_field_next(&record, &f) && f.type == LOG_JSON && f.len == 3 && !memcmp(f.data, "[1]", 3));
    ck_assert(log_field_next(&record, &f) && f.type == LOG_STR && f.len == 0);
    ck_assert(!log_field_next(&record, &f));
    log_pop(log);
    ck_assert(!log_peek(log, &record));
    log_free(log);
}
END_TEST

START_TEST(records_below_the_level_are_not_taken)
{
    struct log *log = new_log(4096);
    struct log_record record;
    ck_assert(!log_wants(log, LOG_DEBUG));
    ck_assert(!log_begin(log, LOG_DEBUG, LOG_PLAIN, "x"));
    log_printf(log, LOG_DEBUG, "x");
    ck_assert(!log_peek(log, &record));
    ck_assert(log_wants(log, LOG_FATAL));
    log_printf(log, LOG_INFO, "x");
    ck_assert(log_peek(log, &record));
    ck_assert_uint_eq(log_dropped(log), 0);
    log_free(log);
}
END_TEST

START_TEST(printf_copies_its_text_and_cuts_it)
{
    struct log *log = new_log(16384);
    struct log_record record;
    struct log_field field;
    char text[] = "port 53";
    log_printf(log, LOG_ERROR, "no %s%d", text, 7);
    memset(text, 'x', sizeof(text) - 1);
    ck_assert(log_peek(log, &record));
    ck_assert_str_eq(record.msg, "no port 537");
    ck_assert(!log_field_next(&record, &field));
    log_pop(log);
    log_printf(log, LOG_ERROR, "%05000d", 1);
    ck_assert(log_peek(log, &record));
    ck_assert_uint_eq(strlen(record.msg), 2047);
    log_free(log);
}
END_TEST

START_TEST(a_full_queue_drops_the_newest_and_counts)
{
    struct log *log = new_log(4096);
    for (int i = 0; i < 1000; i++)
        record_number(log, i);
    uint64_t dropped = log_dropped(log);
    ck_assert_uint_gt(dropped, 0);
    for (int i = 0; i < 1000 - (int)dropped; i++)
        ck_assert_int_eq(take_number(log), i);
    struct log_record record;
    ck_assert(!log_peek(log, &record));
    record_number(log, 1234);
    ck_assert_int_eq(take_number(log), 1234);
    ck_assert_uint_eq(log_dropped(log), dropped);
    log_free(log);
}
END_TEST

START_TEST(a_record_that_is_too_long_leaves_no_trace)
{
    struct log *log = new_log(1 << 20);
    static char big[LOG_RECORD_MAX];
    struct ip_addr addr = {0};
    ck_assert(log_begin(log, LOG_INFO, LOG_PLAIN, "big"));
    log_str(log, "a", big, sizeof(big));
    log_int(log, "b", 1);
    log_end(log);
    ck_assert(log_begin(log, LOG_INFO, LOG_PLAIN, "huge"));
    log_ips(log, "a", &addr, SIZE_MAX);
    log_end(log);
    ck_assert(log_begin(log, LOG_INFO, LOG_PLAIN, "in pieces"));
    for (int i = 0; i < 5; i++)
        log_str(log, "a", big, LOG_RECORD_MAX / 4);
    log_end(log);
    ck_assert_uint_eq(log_dropped(log), 3);
    record_number(log, 5);
    ck_assert_int_eq(take_number(log), 5);
    log_free(log);
}
END_TEST

static bool rings(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    uint64_t count;
    return poll(&pfd, 1, 0) == 1 && read(fd, &count, sizeof(count)) == sizeof(count);
}

START_TEST(the_bell_rings_once_and_only_for_a_sleeper)
{
    struct log *log = new_log(4096);
    int bell = eventfd(0, EFD_NONBLOCK);
    record_number(log, 1);
    ck_assert(!rings(bell));
    log_set_bell(log, bell);
    ck_assert(!log_begin(log, LOG_DEBUG, LOG_PLAIN, "not wanted"));
    ck_assert(!rings(bell));
    record_number(log, 2);
    ck_assert(rings(bell));
    record_number(log, 3);
    ck_assert(!rings(bell));
    log_set_bell(log, bell);
    log_set_bell(log, -1);
    record_number(log, 4);
    ck_assert(!rings(bell));
    close(bell);
    log_free(log);
}
END_TEST

#define PAYLOAD_MAX 700

/* The small queue wraps every few dozen records. */
static const struct hammering {
    size_t capacity;
    int64_t records;
} hammerings[] = {{4096, 100000}, {1 << 20, 5000000}};

struct hammer {
    struct log *log;
    int64_t records;
    atomic_bool waiting; /* the producer, since the queue was full */
    sem_t drained;
};

/* What record `seq` carries is a function of `seq`, so that a byte of another record is seen. */
static uint8_t payload_byte(int64_t seq)
{
    return (uint8_t)(seq * 131 + (seq >> 8));
}

static void *hammer(void *arg)
{
    struct hammer *h = arg;
    struct log *log = h->log;
    struct random random = random_new();
    char payload[PAYLOAD_MAX];
    for (int64_t seq = 0; seq < h->records; seq++) {
        size_t len = random_below(&random, random_below(&random, 8) ? 40 : PAYLOAD_MAX);
        uint64_t dropped = log_dropped(log);
        if (log_begin(log, LOG_INFO, LOG_PLAIN, "m")) {
            memset(payload, payload_byte(seq), len);
            log_int(log, "n", seq);
            log_str(log, "payload", payload, len);
            log_int(log, "len", (int64_t)len);
            log_end(log);
        }
        if (log_dropped(log) != dropped) {
            /* On a busy machine there would be little but drops without this. */
            h->waiting = true;
            sem_wait(&h->drained);
        }
    }
    return NULL;
}

/* The number of the record, or -1 when it is not what its number says. Without ck_assert, which writes to a file each
 * time that it holds. */
static int64_t check_hammered(struct log_record *record)
{
    struct log_field seq, payload, len, none;
    if (!log_field_next(record, &seq) || !log_field_next(record, &payload) || !log_field_next(record, &len) ||
        log_field_next(record, &none))
        return -1;
    if (seq.type != LOG_INT || payload.type != LOG_STR || len.type != LOG_INT || len.integer != (int64_t)payload.len)
        return -1;
    for (size_t i = 0; i < payload.len; i++)
        if (payload.data[i] != payload_byte(seq.integer))
            return -1;
    return seq.integer;
}

START_TEST(two_threads_tear_nothing_and_lose_only_what_is_counted)
{
    struct hammer h = {.log = new_log(hammerings[_i].capacity), .records = hammerings[_i].records};
    pthread_t producer;
    ck_assert_int_eq(sem_init(&h.drained, 0, 0), 0);
    ck_assert_int_eq(pthread_create(&producer, NULL, hammer, &h), 0);
    int64_t last = -1, taken = 0;
    bool ended = false;
    for (;;) {
        struct log_record record;
        if (log_peek(h.log, &record)) {
            int64_t seq = check_hammered(&record);
            if (seq <= last)
                ck_abort_msg("after record %ld there is one that is torn or out of order", (long)last);
            last = seq;
            taken++;
            log_pop(h.log);
        } else if (ended) {
            break;
        } else {
            if (atomic_exchange(&h.waiting, false))
                sem_post(&h.drained);
            else
                poll(NULL, 0, 1); /* lets records pile up */
            ended = pthread_tryjoin_np(producer, NULL) == 0;
        }
    }
    ck_assert_uint_gt(log_dropped(h.log), 0);
    ck_assert_int_ge(taken, h.records / 2); /* each loss is followed by an empty queue */
    ck_assert_int_eq(taken + (int64_t)log_dropped(h.log), h.records);
    sem_destroy(&h.drained);
    log_free(h.log);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("log");
    tcase_set_timeout(tc, 100);
    tcase_add_test(tc, every_kind_of_field_comes_back);
    tcase_add_test(tc, records_below_the_level_are_not_taken);
    tcase_add_test(tc, printf_copies_its_text_and_cuts_it);
    tcase_add_test(tc, a_full_queue_drops_the_newest_and_counts);
    tcase_add_test(tc, a_record_that_is_too_long_leaves_no_trace);
    tcase_add_test(tc, the_bell_rings_once_and_only_for_a_sleeper);
    tcase_add_loop_test(tc, two_threads_tear_nothing_and_lose_only_what_is_counted, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}
