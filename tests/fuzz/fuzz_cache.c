/* The answer cache beside a list that forgets nothing: what it gives is what was put last for that question, younger
 * than its life, with TTLs counted down; it never holds more than it may. */
#include "dns/cache.h"

#include "base/loop.h"
#include "base/wire.h"

#include "script.h"

#include <string.h>

#define CAPACITY 6
#define NAMES 8
#define ANSWERS_AT 24        /* behind header and question */
#define KEYS (NAMES * 2 * 2) /* name, type, EDNS or not */

struct kept {
    struct cache_key key;
    struct dns_question question;
    uint8_t *msg; /* NULL: nothing was put */
    size_t len;
    struct ttls ttls;
    uint64_t put_ns;
};

static struct kept kept[KEYS];
static struct dns_found found[DNS_MESSAGE_MAX / 15 + 1];

/* The query of key `i` in `ret`. */
static size_t make_query(unsigned i, uint8_t *ret, struct dns_question *question, struct dns_edns *edns)
{
    uint8_t query[] = "\0\0\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\1\0\1\0\0\51\4\320\0\0\0\0\0\0";
    size_t len = sizeof(query) - 1;
    query[13] = (uint8_t)('a' + i % NAMES);
    query[21] = i / NAMES & 1 ? LDNS_RR_TYPE_AAAA : LDNS_RR_TYPE_A;
    if (i / NAMES & 2)
        query[11] = 1;
    else
        len -= 11;
    memcpy(ret, query, len);
    must(dns_scan_query(ret, len, question, edns) == DNS_SCAN_OK);
    return len;
}

static void forget(struct kept *k)
{
    free(k->msg);
    k->msg = NULL;
}

/* Whether it may be kept. */
static bool put(struct cache *cache, struct script *script, unsigned i, uint64_t now)
{
    static uint8_t msg[DNS_MESSAGE_MAX];
    struct kept *k = &kept[i];
    struct ttls ttls;
    size_t records_len, n = 0;
    const uint8_t counts = script_u8(script), flags = script_u8(script);
    const uint8_t *records = script_bytes(script, &records_len);
    memcpy(msg, "\0\0\x81\x80\0\1\0\0\0\0\0\0\1a\4test\0\0\1\0\1", ANSWERS_AT);
    msg[2] |= flags & LDNS_AA_MASK;
    msg[3] |= flags & 3;
    msg[7] = counts & 7;
    msg[9] = counts >> 3 & 3;
    msg[11] = counts >> 5 & 3;
    msg[13] = k->question.name[1];
    msg[21] = (uint8_t)k->question.type;
    if (records_len > sizeof(msg) - ANSWERS_AT)
        records_len = sizeof(msg) - ANSWERS_AT;
    memcpy(msg + ANSWERS_AT, records, records_len);
    size_t len = ANSWERS_AT + records_len;
    if (dns_answer_addresses(msg, len, &k->question, found, &n) || !ttls_scan(msg, len, &k->question, found, n, &ttls))
        return false;
    must(ttls.life > 0 && ttls.n <= TTLS_MAX && ttls.n_addresses == n);
    cache_put(cache, &k->key, &k->question, msg, len, &ttls, now);
    forget(k);
    k->ttls = ttls;
    if (len > CACHE_ANSWER_MAX)
        return false;
    k->msg = malloc(len);
    memcpy(k->msg, msg, len);
    k->len = len;
    k->put_ns = now;
    return true;
}

static uint32_t count_down(uint32_t ttl, uint64_t seconds)
{
    return ttl <= INT32_MAX && ttl > seconds ? (uint32_t)(ttl - seconds) : 0;
}

static void check(const struct kept *k, const uint8_t *got, size_t len, size_t n, uint64_t now)
{
    must(k->msg && len == k->len && now - k->put_ns < k->ttls.life * NS_PER_S && n == k->ttls.n_addresses);
    uint8_t *expected = malloc(len);
    memcpy(expected, k->msg, len);
    expected[2] &= (uint8_t)~LDNS_AA_MASK;
    for (size_t i = 0; i < k->ttls.n; i++) {
        uint8_t *ttl = expected + k->ttls.at[i];
        wire_store32(ttl, count_down(wire_load32(ttl), (now - k->put_ns) / NS_PER_S));
        if (i < n)
            must(found[i].ttl == wire_load32(ttl) && found[i].ttl_at == k->ttls.at[i]);
    }
    must(!memcmp(got + 2, expected + 2, len - 2));
    free(expected);
}

static bool get(struct cache *cache, unsigned i, uint64_t now)
{
    uint8_t got[CACHE_ROOM];
    size_t n = 0, len = cache_get(cache, &kept[i].key, &kept[i].question, now, got, found, &n);
    if (len)
        check(&kept[i], got, len, n, now);
    return len > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct script script = {data, data + len};
    struct cache *cache = NULL;
    uint64_t now = NS_PER_S;
    must(cache_new(CAPACITY, &cache) == 0);
    for (unsigned i = 0; i < KEYS; i++) {
        uint8_t query[64];
        struct dns_edns edns;
        make_query(i, query, &kept[i].question, &edns);
        kept[i].key = cache_key(1, query, &kept[i].question, &edns);
    }
    while (script.at < script.end) {
        uint8_t what = script_u8(&script);
        unsigned i = what >> 2 & (KEYS - 1);
        if ((what & 3) == 0) {
            must(!put(cache, &script, i, now) || get(cache, i, now));
        } else if ((what & 3) == 1) {
            get(cache, i, now);
        } else if ((what & 3) == 2) {
            now += script_u16(&script) * NS_PER_S / 10;
        } else if (what == 0xff) {
            cache_clear(cache);
            for (i = 0; i < KEYS; i++)
                forget(&kept[i]);
        }
        must(cache_count(cache) <= CAPACITY);
    }
    for (unsigned i = 0; i < KEYS; i++)
        forget(&kept[i]);
    cache_free(cache);
    return 0;
}
