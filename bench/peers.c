/* What a new connection costs the kernel with and without the rules that show it: datagrams to one port after the
 * other, through a device that drops them. Runs in a network namespace of its own (as root, or under unshare -Urn);
 * needs ip(8). */
#include "rounds.h"

#include "base/loop.h"
#include "nft/nft.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATAGRAMS 20000
#define ROUNDS 11

static struct metrics counts;

/* Nanoseconds for each datagram to 198.51.100.`host`. */
static double ns_each(uint8_t host, uint16_t first_port)
{
    struct ip_addr addr = ip_from_v4((const uint8_t[]){198, 51, 100, host});
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint64_t start = clock_monotonic_ns();
    for (uint16_t i = 0; i < DATAGRAMS; i++) {
        struct sock_addr peer = sock_addr_make(&addr, (uint16_t)(first_port + i));
        sendto(fd, "x", 1, 0, &peer.sa, sock_addr_len(&peer)); /* refused ones fail */
    }
    double ns = (double)(clock_monotonic_ns() - start) / DATAGRAMS;
    close(fd);
    return ns;
}

int main(void)
{
    static const char *const what[] = {"allowed", "refused"};
    static double ns[2][2][ROUNDS];
    struct ip_addr open = ip_from_v4((const uint8_t[]){198, 51, 100, 1});
    struct ip_range range = {open, open};
    struct nft_policy policy = {.allow = {.v4 = &range, .n_v4 = 1}};
    if (unshare(CLONE_NEWNET) ||
        system("ip link add d0 type veth peer name d1 && ip addr add 10.0.0.1/24 dev d0 && ip link set d0 up && "
               "ip link set d1 up && ip route add default dev d0 && "
               "ip neigh add 198.51.100.1 lladdr 02:00:00:00:00:01 dev d0")) {
        fprintf(stderr, "cannot make a namespace: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    for (int i = 0; i < ROUNDS * 2; i++) {
        struct nft_settings settings = {.filter = true,
                                        .dns_port = 15353,
                                        .mark = 1,
                                        .metrics = &counts,
                                        .max_addresses = 1000,
                                        .log_peers = i % 2};
        struct why why = {""};
        struct nft *nft = NULL;
        if (nft_open(&settings, &nft, &why) || nft_install(nft, &policy, &why)) {
            fprintf(stderr, "%s\n", why.text);
            return EXIT_FAILURE;
        }
        for (uint8_t k = 0; k < 2; k++)
            ns[k][i % 2][i / 2] = ns_each(k + 1, 1000);
        nft_free(nft);
    }
    for (int k = 0; k < 2; k++) {
        for (int shown = 0; shown < 2; shown++)
            qsort(ns[k][shown], ROUNDS, sizeof(double), ascending);
        printf("%s: %.0f ns each (least %.0f) without, %.0f (least %.0f) with\n", what[k], ns[k][0][ROUNDS / 2],
               ns[k][0][0], ns[k][1][ROUNDS / 2], ns[k][1][0]);
    }
    return EXIT_SUCCESS;
}
