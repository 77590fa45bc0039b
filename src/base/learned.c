#include "base/learned.h"

#include <string.h>

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
