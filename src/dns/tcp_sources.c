#include "dns/tcp_sources.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

TAILQ_HEAD(tcp_members, tcp_member);

struct tcp_source {
    struct ip_addr addr;
    unsigned n;
    struct tcp_members members;
    LIST_ENTRY(tcp_source) link;
};

static struct ip_addr source_of(const struct sock_addr *peer)
{
    static const uint8_t loopback[4] = {127};
    if (peer->sa.sa_family != AF_INET)
        return ip_from_v6(&peer->in6.sin6_addr);
    const uint8_t *bytes = (const uint8_t *)&peer->in.sin_addr;
    return ip_from_v4(bytes[0] == loopback[0] ? loopback : bytes);
}

static struct tcp_source *find(const struct tcp_sources *sources, const struct ip_addr *addr)
{
    struct tcp_source *source;
    LIST_FOREACH(source, &sources->list, link) /* as many as the host has addresses, most often one or two */
    if (ip_equal(&source->addr, addr))
        break;
    return source;
}

int tcp_sources_join(struct tcp_sources *sources, struct tcp_member *member, const struct sock_addr *peer)
{
    struct ip_addr addr = source_of(peer);
    struct tcp_source *source = find(sources, &addr);
    if (!source) {
        source = calloc(1, sizeof(*source));
        if (!source)
            return -ENOMEM;
        source->addr = addr;
        TAILQ_INIT(&source->members);
        LIST_INSERT_HEAD(&sources->list, source, link);
    }
    source->n++;
    member->source = source;
    TAILQ_INSERT_TAIL(&source->members, member, link);
    return 0;
}

void tcp_sources_leave(struct tcp_member *member)
{
    struct tcp_source *source = member->source;
    TAILQ_REMOVE(&source->members, member, link);
    if (--source->n)
        return;
    LIST_REMOVE(source, link);
    free(source);
}

void tcp_sources_touch(struct tcp_member *member)
{
    TAILQ_REMOVE(&member->source->members, member, link);
    TAILQ_INSERT_TAIL(&member->source->members, member, link);
}

struct tcp_member *tcp_sources_victim(struct tcp_sources *sources, unsigned (*burden)(struct tcp_member *member))
{
    const struct tcp_source *source, *most = LIST_FIRST(&sources->list);
    LIST_FOREACH(source, &sources->list, link)
    if (source->n > most->n)
        most = source;
    if (!most)
        return NULL;
    struct tcp_member *member, *idle = NULL, *busiest = NULL;
    unsigned seen = 0, most_burden = 0;
    TAILQ_FOREACH(member, &most->members, link)
    {
        unsigned is = burden(member);
        if (!is && !idle && seen < most->n / 2)
            idle = member;
        if (!busiest || is > most_burden) {
            busiest = member;
            most_burden = is;
        }
        seen++;
    }
    return idle && most_burden != TCP_STALLED ? idle : busiest;
}

void tcp_sources_each(struct tcp_sources *sources, void (*fn)(struct tcp_member *member))
{
    struct tcp_source *next_source;
    for (struct tcp_source *source = LIST_FIRST(&sources->list); source; source = next_source) {
        next_source = LIST_NEXT(source, link);
        struct tcp_member *next;
        for (struct tcp_member *member = TAILQ_FIRST(&source->members); member; member = next) {
            next = TAILQ_NEXT(member, link); /* the last to leave frees the source */
            fn(member);
        }
    }
}
