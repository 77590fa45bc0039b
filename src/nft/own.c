#include "nft/own.h"

#include <string.h>

bool own_has(const struct ifaddrs *own, const struct sock_addr *endpoint)
{
    struct ip_addr addr = sock_addr_ip(endpoint);
    if (addr.family == AF_INET && addr.bytes[0] == 127)
        return true;
    for (; own; own = own->ifa_next) {
        if (!own->ifa_addr || own->ifa_addr->sa_family != addr.family)
            continue;
        struct sock_addr one;
        memset(&one, 0, sizeof(one)); /* all of the union, which an initializer need not */
        memcpy(&one, own->ifa_addr, addr.family == AF_INET ? sizeof(one.in) : sizeof(one.in6));
        struct ip_addr ip = sock_addr_ip(&one);
        if (ip_equal(&ip, &addr))
            return true;
    }
    return false;
}
