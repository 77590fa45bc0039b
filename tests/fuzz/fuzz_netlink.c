/* What comes over netlink sockets: listings of the table an earlier process (or anybody) left, conntrack's entries,
 * sockets, counters, logged packets. The first octet says which reader. What they make of it is sound, whatever it was.
 */
#include "base/wire.h"
#include "nft/counter.h"
#include "nft/flows.h"
#include "nft/nflog.h"
#include "nft/nft_policy.h"
#include "nft/packet.h"
#include "nft/restore.h"
#include "nft/snapshot.h"
#include "nft/sockets.h"
#include "nft/verify.h"

#include "netlink_world.h"

#include <string.h>
#include <sys/socket.h>

#define LEASES 16
#define NOW (1000 * NS_PER_S)

static void leases(struct conn *conn)
{
    struct changes *changes = NULL;
    struct why why;
    must(changes_new(LEASES, 1, &changes) == 0);
    if (restore_leases(conn, changes, NOW, &why) == 0)
        for (enum timed_set set = 0; set < N_TIMED_SETS; set++) {
            struct leases *list = changes_leases(changes, set);
            struct lease *lease;
            must(leases_count(list) <= LEASES);
            for (size_t cursor = 0; (lease = leases_next(list, &cursor));) {
                char text[2100];
                names_text(&lease->names, text, sizeof(text));
                must(*text || set == revoked_set(lease->addr.family)); /* what is let through has a name */
                must(lease->expires_ns > NOW && lease->expires_ns <= NOW + timed_set_longest_ns(set));
                must(leases_find(list, &lease->addr) == lease);
            }
        }
    changes_free(changes);
}

static void verify(struct conn *conn)
{
    static const struct ip_range range = {{AF_INET, {10}}, {AF_INET, {10, 255, 255, 255}}};
    struct nft_policy policy = {.deny = {.v4 = &range, .n_v4 = 1}};
    struct nft_settings settings = {.filter = true};
    struct changes *changes = NULL;
    struct lease *lease;
    struct ip_addr addr = {AF_INET, {192, 0, 2, 7}};
    struct why what = {""}, why = {""};
    bool differs = false;
    must(changes_new(LEASES, 1, &changes) == 0);
    must(changes_add(changes, ALLOW_V4, &addr, NOW + 60 * NS_PER_S, &lease) == 0);
    must(names_add(&lease->names, (const uint8_t *)"\1a", 3, NOW + 60 * NS_PER_S) == 1);
    changes_commit(changes);
    int error = verify_elements(conn, &settings, &policy, changes, NOW, &differs, &what, &why);
    must(error || !differs || *what.text);
    changes_free(changes);
}

static void upstreams(struct conn *conn)
{
    struct sock_addr list[4];
    struct search_text search;
    struct why why;
    size_t n = 0;
    bool found = false;
    if (restore_upstreams(conn, list, 4, &n, &why) == 0) {
        must(n <= 4);
        for (size_t i = 0; i < n; i++)
            must(sock_addr_port(&list[i]) && (list[i].sa.sa_family == AF_INET || list[i].sa.sa_family == AF_INET6));
    }
    if (restore_search(conn, &search, &found, &why) == 0) {
        must(search.n <= SEARCH_TEXT_NAMES);
        for (size_t i = 0; i < search.n; i++)
            must(search.names[i][0] && memchr(search.names[i], 0, SEARCH_TEXT_MAX));
    }
    restore_is_open(conn, &found, &why);
}

static void snapshots(struct conn *conn)
{
    struct buf before = {0}, after = {0};
    struct why why = {""}, what = {""};
    if (snapshot_take(conn, &before, &why) == 0) {
        must(!snapshot_differs(&before, &before, &what));
        if (snapshot_take(conn, &after, &why) == 0 && snapshot_differs(&before, &after, &what))
            must(*what.text);
    }
    buf_done(&before);
    buf_done(&after);
}

static void must_be_flows(const struct buf *flows)
{
    const struct flow *flow = (const struct flow *)(const void *)flows->data;
    must(flows->len % sizeof(*flow) == 0);
    for (size_t i = 0; i < flows->len / sizeof(*flow); i++)
        must((flow[i].protocol == IPPROTO_TCP || flow[i].protocol == IPPROTO_UDP) &&
             flow[i].tuple_len <= sizeof(flow[i].tuple) && flow[i].local.sa.sa_family);
}

static int take_flows(void *ctx, struct buf *flows)
{
    struct why why;
    must(flows->len <= FLOWS_AT_ONCE * sizeof(struct flow));
    must_be_flows(flows);
    flows_end(ctx, flows, &why);
    return 0;
}

static void open_flows(struct conn *conn)
{
    static bool ports[UINT16_MAX + 1];
    struct buf found = {0};
    struct why why;
    flows_list(conn, take_flows, conn, &why);
    if (flows_find_dns(conn, &found, &why) == 0)
        flows_forget(conn, &found, &why);
    must_be_flows(&found);
    buf_clear(&found);
    sockets_find(0, 7, &found, ports, &why);
    must_be_flows(&found);
    buf_done(&found);
}

static void counters(struct conn *conn)
{
    static const char *const names[] = {"direct", "denied"};
    uint64_t values[2];
    bool others;
    uint32_t generation;
    struct why why;
    counters_read(conn, names, 2, values);
    conn_others_changed(conn, &others, &generation, &why);
}

static void transaction(struct conn *conn)
{
    struct batch *batch = NULL;
    struct why why = {""};
    must(batch_new(&batch) == 0);
    batch_begin(batch);
    counter_declare(batch, "direct");
    must(conn_commit(conn, batch, &why) == 0 || *why.text);
    batch_free(batch);
}

static void take_packet(void *ctx, const struct nflog_packet *packet)
{
    struct peer peer;
    uint8_t *copy = malloc(packet->len + 1);
    memcpy(copy, packet->payload, packet->len);
    if (peer_from_packet(copy, packet->len, &peer))
        must((peer.addr.family == AF_INET && packet->len >= 20) || (peer.addr.family == AF_INET6 && packet->len >= 40));
    free(copy);
}

static void packets(struct script *script)
{
    int pair[2];
    must(!socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair));
    while (script->at < script->end) {
        size_t len;
        const uint8_t *bytes = script_bytes(script, &len);
        _Alignas(struct nlmsghdr) uint8_t datagram[8192];
        if (len > sizeof(datagram))
            break;
        memcpy(datagram, bytes, len);
        kernel_mend(datagram, len);
        sendto(pair[1], datagram, len, 0, NULL, 0);
        while (nflog_receive(pair[0], take_packet, NULL))
            ;
        take_packet(NULL, &(struct nflog_packet){.payload = bytes, .len = len});
    }
    close(pair[0]);
    close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static void (*const readers[])(struct conn * conn) = {leases,     verify,   upstreams,  snapshots,
                                                          open_flows, counters, transaction};
    struct script script = {data, data + len}, none = {data, data};
    struct conn *conn = NULL;
    struct why why;
    size_t reader = script_u8(&script) % 8;
    if (reader == 7) {
        packets(&script);
        return 0;
    }
    kernel_begin(&none); /* the first question is answered well */
    must(conn_open(&conn, &why) == 0);
    kernel_begin(&script);
    readers[reader](conn);
    kernel_end();
    conn_free(conn);
    return 0;
}
