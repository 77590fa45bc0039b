#include "base/learned.h"

#include <string.h>

void forecast_done(struct forecast *forecast)
{
    buf_done(&forecast->revoked);
    buf_done(&forecast->flows);
}

void flow_to_json(uint8_t protocol, const struct sock_addr *peer, struct buf *ret)
{
    char address[IP_TEXT_MAX];
    struct ip_addr addr = sock_addr_ip(peer);
    buf_printf(ret, "{\"protocol\":\"%s\",\"peer\":\"%s\",\"port\":%u}", protocol == IPPROTO_TCP ? "tcp" : "udp",
               ip_format(&addr, address), sock_addr_port(peer));
}

void lease_info_to_json(const struct lease_info *lease, struct buf *ret)
{
    char address[IP_TEXT_MAX];
    buf_printf(ret, "{\"address\":\"%s\",\"state\":\"%s\",\"seconds\":%u,\"names\":[", ip_format(&lease->addr, address),
               lease->state == LEASE_REVOKED ? "revoked" : "learned", lease->seconds_left);
    for (const char *name = lease->names; *name;) {
        size_t len = strcspn(name, ",");
        buf_json_string(ret, name, len);
        name += len;
        if (*name) {
            buf_putc(ret, ',');
            name++;
        }
    }
    buf_puts(ret, "]}");
}
