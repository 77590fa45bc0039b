#include "dns/lookups.h"

#include "base/wire.h"
#include "policy/name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LOOKUPS_MAX 8
#define PATIENCE_NS (10 * NS_PER_S) /* no new name is tried after that */
#define LOCALHOST_TTL 300

struct name_lookup {
    struct lookups *lookups;
    struct lookup *lookup; /* NULL: not under way */
    uint8_t host[DNS_NAME_MAX];
    size_t host_len;
    bool absolute, as_is_first;
    size_t tried;                 /* names so far; see name_to_try() */
    struct dns_question question; /* the present one's, but for its type */
    unsigned awaited;             /* queries about it */
    uint64_t end_ns;
    bool failed; /* a question was not answered: that there is no such name is not known */
    struct ip_addr addrs[LOOKUP_ADDRESSES_MAX];
    size_t n;
    uint32_t ttl;
};

struct lookups {
    struct loop *loop;
    struct lookups_settings settings;
    size_t queries;
    struct name_lookup list[LOOKUPS_MAX];
};

int lookups_new(struct loop *loop, const struct lookups_settings *settings, struct lookups **ret)
{
    struct lookups *lookups = calloc(1, sizeof(*lookups));
    if (!lookups)
        return -ENOMEM;
    lookups->loop = loop;
    lookups->settings = *settings;
    *ret = lookups;
    return 0;
}

static void answer(struct lookup *lookup, const struct name_lookup *from, const char *error)
{
    lookup->error = error;
    lookup->n = 0;
    if (!error) {
        memcpy(lookup->addrs, from->addrs, sizeof(lookup->addrs));
        lookup->n = from->n;
        lookup->ttl = from->ttl;
    }
    lookup->answered(lookup);
}

static void end(struct name_lookup *name, const char *error)
{
    struct lookup *lookup = name->lookup;
    name->lookup = NULL;
    answer(lookup, name, error);
}

void lookups_free(struct lookups *lookups)
{
    if (!lookups)
        return;
    for (size_t i = 0; i < LOOKUPS_MAX; i++)
        if (lookups->list[i].lookup)
            end(&lookups->list[i], "the sidecar stops");
    free(lookups);
}

/* --- the names that one host name stands for --- */

/* The `i`th: as it is, or with a suffix behind it. 0 when it would be too long, -1 behind the last one. */
static int name_to_try(const struct name_lookup *name, size_t i, uint8_t ret[DNS_NAME_MAX])
{
    const struct lookups_settings *settings = &name->lookups->settings;
    size_t n_search = name->absolute ? 0 : settings->n_search;
    if (i > n_search)
        return -1;
    if (i == (name->as_is_first ? 0 : n_search)) {
        memcpy(ret, name->host, name->host_len);
        return (int)name->host_len;
    }
    const struct dns_suffix *suffix = &settings->search[i - name->as_is_first];
    size_t stem = name->host_len - 1; /* without the root */
    if (stem + suffix->len > DNS_NAME_MAX)
        return 0;
    memcpy(ret, name->host, stem);
    memcpy(ret + stem, suffix->name, suffix->len);
    return (int)(stem + suffix->len);
}

/* --- asking --- */

static void ask(struct name_lookup *name, uint16_t type)
{
    struct lookups *lookups = name->lookups;
    uint8_t msg[DNS_HEADER_SIZE + DNS_NAME_MAX + 4] = {0};
    struct dns_question *question = &name->question;
    uint8_t *at = msg + DNS_HEADER_SIZE;
    LDNS_RD_SET(msg);
    wire_store16(msg + 4, 1); /* questions */
    memcpy(at, question->name, question->name_len);
    wire_store16(at + question->name_len, type);
    wire_store16(at + question->name_len + 2, LDNS_RR_CLASS_IN);
    struct query *query = forwarder_take(lookups->settings.forwarder, msg, question->end);
    if (!query) {
        name->awaited--;
        name->failed = true;
        return;
    }
    query->purpose = QUERY_LOOKUP;
    query->lookup = name;
    query->question_end = question->end;
    query->type = type;
    query->started_ns = loop_now(lookups->loop);
    query->edns = (struct dns_edns){0};
    lookups->queries++;
    forwarder_send(lookups->settings.forwarder, query);
}

/* Asks for the names one after the other until there are addresses. */
static void carry_on(struct name_lookup *name)
{
    while (name->lookup && !name->awaited) {
        struct dns_question *question = &name->question;
        bool late = loop_now(name->lookups->loop) >= name->end_ns;
        int len = name->n || late ? -1 : name_to_try(name, name->tried, question->name);
        name->tried++;
        if (len < 0) {
            end(name, name->n                ? NULL
                      : late || name->failed ? "no upstream resolver answers for it"
                                             : "there is no such name, or it has no address");
        } else if (len) {
            question->name_len = (uint8_t)len;
            question->end = (uint16_t)(DNS_HEADER_SIZE + len + 4);
            name->awaited = 3; /* one is ours: whatever is answered at once is answered inside of this round */
            ask(name, LDNS_RR_TYPE_A);
            ask(name, LDNS_RR_TYPE_AAAA);
            name->awaited--;
        }
    }
}

static bool is_localhost(const uint8_t *name, size_t len)
{
    static const uint8_t localhost[] = "\x09localhost"; /* and the root */
    size_t at = 0;
    while (len - at > sizeof(localhost))
        at += 1u + name[at];
    return len - at == sizeof(localhost) && !memcmp(name + at, localhost, sizeof(localhost));
}

static void set_loopback(struct name_lookup *name)
{
    static const uint8_t v4[4] = {127, 0, 0, 1}, v6[16] = {[15] = 1};
    name->addrs[0] = ip_from_v4(v4);
    name->addrs[1] = ip_from_v6(v6);
    name->n = 2;
    name->ttl = LOCALHOST_TTL;
}

void lookups_start(struct lookups *lookups, struct lookup *lookup)
{
    struct name_lookup *name = lookups->list;
    while (name < lookups->list + LOOKUPS_MAX && name->lookup)
        name++;
    if (name == lookups->list + LOOKUPS_MAX) {
        answer(lookup, NULL, "too many lookups under way");
        return;
    }
    *name = (struct name_lookup){.lookups = lookups, .ttl = UINT32_MAX};
    if (name_from_text(lookup->host, name->host, &name->host_len, NULL)) {
        answer(lookup, NULL, "it is no host name");
        return;
    }
    unsigned dots = 0;
    for (const char *c = lookup->host; *c; c++)
        dots += *c == '.';
    name->lookup = lookup;
    name->absolute = lookup->host[strlen(lookup->host) - 1] == '.';
    name->as_is_first = name->absolute || dots >= lookups->settings.ndots;
    name->end_ns = loop_now(lookups->loop) + PATIENCE_NS;
    if (is_localhost(name->host, name->host_len))
        set_loopback(name);
    carry_on(name);
}

/* --- what comes of it --- */

static void add(struct name_lookup *name, const struct dns_found *found)
{
    if (name->n == LOOKUP_ADDRESSES_MAX || !ip_is_unicast(&found->addr))
        return;
    uint32_t ttl = found->ttl < found->chain_ttl ? found->ttl : found->chain_ttl;
    name->ttl = ttl < name->ttl ? ttl : name->ttl;
    name->addrs[name->n++] = found->addr;
}

static void ended(struct name_lookup *name, struct query *query)
{
    struct lookups *lookups = name->lookups;
    forwarder_release(lookups->settings.forwarder, query);
    lookups->queries--;
    name->awaited--;
    carry_on(name);
}

bool lookups_answered(struct lookups *lookups, struct query *query, const uint8_t *msg, size_t len)
{
    struct name_lookup *name = query->lookup;
    struct dns_found *found = lookups->settings.found;
    struct dns_question question = name->question;
    size_t n = 0;
    question.type = query->type;
    if (LDNS_RCODE_WIRE(msg) == LDNS_RCODE_NOERROR && dns_answer_addresses(msg, len, &question, found, &n))
        return false;
    /* Half of the room for each family. */
    for (size_t i = 0; i < n && i < LOOKUP_ADDRESSES_MAX / 2; i++)
        add(name, &found[i]);
    ended(name, query);
    return true;
}

void lookups_failed(struct lookups *lookups, struct query *query)
{
    struct name_lookup *name = query->lookup;
    name->failed = true;
    ended(name, query);
}

size_t lookups_busy(const struct lookups *lookups)
{
    return lookups->queries;
}
