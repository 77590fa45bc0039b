#include "dns/resolv_conf.h"

#include "base/text.h"
#include "policy/name.h"

#include <string.h>

#define DNS_PORT 53
#define NDOTS_DEFAULT 1
#define NDOTS_MAX 15
#define WORD_MAX 256 /* a longer word is nothing that we know */

/* What is left of a line. */
struct line {
    const char *at, *end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next word, which ends at a blank or one of `stops`; false at the end of the line. */
static bool next_word(struct line *line, const char *stops, char ret[WORD_MAX])
{
    while (line->at < line->end && is_blank(*line->at))
        line->at++;
    size_t n = 0;
    for (; line->at < line->end && !is_blank(*line->at) && !(*line->at && strchr(stops, *line->at)); line->at++)
        if (n < WORD_MAX - 1)
            ret[n++] = *line->at;
    ret[n] = '\0';
    return n > 0;
}

/* Keywords stand at the start of a line, and a blank behind them. */
static bool take_keyword(struct line *line, const char *keyword)
{
    size_t len = strlen(keyword);
    if ((size_t)(line->end - line->at) <= len || memcmp(line->at, keyword, len) || !is_blank(line->at[len]))
        return false;
    line->at += len;
    return true;
}

/* --- nameserver --- */

static bool parse_server(char *word, unsigned (*interface_index)(const char *name), struct sock_addr *ret)
{
    char *zone = strchr(word, '%');
    if (zone)
        *zone++ = '\0';
    struct ip_addr addr;
    if (ip_parse(word, &addr) || (zone && addr.family != AF_INET6))
        return false;
    *ret = sock_addr_make(&addr, DNS_PORT);
    unsigned index = zone ? interface_index(zone) : 0;
    if (zone && (index || text_whole_number(zone, 0, UINT32_MAX, &index)))
        ret->in6.sin6_scope_id = index;
    return true;
}

/* A list of servers under construction. */
struct servers {
    struct sock_addr list[RESOLV_CONF_SERVERS_MAX];
    size_t n;
};

static void add_once(struct servers *servers, const struct sock_addr *addr)
{
    for (size_t i = 0; i < servers->n; i++)
        if (sock_addr_equal(&servers->list[i], addr))
            return;
    if (servers->n < RESOLV_CONF_SERVERS_MAX)
        servers->list[servers->n++] = *addr;
}

/* --- search, domain, options --- */

/* The latest list counts, and one without a word is none. Whether it is one. */
static bool read_search(struct line *line, size_t max, struct resolv_conf *conf)
{
    char word[WORD_MAX];
    size_t n = 0;
    for (; n < max && next_word(line, "", word); n++) {
        struct dns_suffix suffix;
        size_t len = 0;
        if (n == 0)
            conf->n_search = 0;
        if (!name_from_text(word, suffix.name, &len, NULL) && len > 1) {
            suffix.len = (uint8_t)len;
            conf->search[conf->n_search++] = suffix;
        }
    }
    return n > 0;
}

static void search_domain_of(const char *host, struct resolv_conf *conf)
{
    const char *dot = strchr(host, '.');
    if (dot)
        read_search(&(struct line){dot + 1, host + strlen(host)}, 1, conf);
}

static void read_options(struct line *line, struct resolv_conf *conf)
{
    static const char ndots[] = "ndots:";
    char word[WORD_MAX];
    while (next_word(line, "", word)) {
        unsigned value;
        if (!strncmp(word, ndots, sizeof(ndots) - 1) &&
            text_whole_number(word + sizeof(ndots) - 1, 0, UINT32_MAX, &value))
            conf->ndots = value < NDOTS_MAX ? value : NDOTS_MAX;
    }
}

void resolv_conf_parse(const char *text, size_t len, const char *host, unsigned (*interface_index)(const char *name),
                       struct resolv_conf *ret)
{
    struct servers remote = {.n = 0}, loopback = {.n = 0};
    bool has_search = false;
    *ret = (struct resolv_conf){.ndots = NDOTS_DEFAULT};
    for (const char *end = text + len, *next; text < end; text = next) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        struct line line = {text, newline ? newline : end};
        next = newline ? newline + 1 : end;
        char word[WORD_MAX];
        struct sock_addr server;
        if (take_keyword(&line, "nameserver")) {
            if (next_word(&line, "#;", word) && parse_server(word, interface_index, &server)) {
                struct ip_addr addr = sock_addr_ip(&server);
                add_once(ip_is_loopback(&addr) ? &loopback : &remote, &server);
            }
        } else if (take_keyword(&line, "search")) {
            has_search |= read_search(&line, RESOLV_CONF_SEARCH_MAX, ret);
        } else if (take_keyword(&line, "domain")) {
            has_search |= read_search(&line, 1, ret);
        } else if (take_keyword(&line, "options")) {
            read_options(&line, ret);
        }
    }
    if (!has_search)
        search_domain_of(host, ret);
    for (size_t i = 0; i < remote.n; i++)
        ret->servers[ret->n_servers++] = remote.list[i];
    for (size_t i = 0; i < loopback.n && ret->n_servers < RESOLV_CONF_SERVERS_MAX; i++)
        ret->servers[ret->n_servers++] = loopback.list[i];
}
