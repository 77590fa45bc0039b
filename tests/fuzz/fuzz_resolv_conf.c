#include "dns/resolv_conf.h"

#include "fuzz.h"

static unsigned interface_index(const char *name)
{
    return name[0] == 'e' ? 2 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct resolv_conf conf;
    resolv_conf_parse((const char *)data, len, "host.sub.test", interface_index, &conf);
    must(conf.n_servers <= RESOLV_CONF_SERVERS_MAX && conf.n_search <= RESOLV_CONF_SEARCH_MAX);
    for (size_t i = 0; i < conf.n_servers; i++) {
        struct ip_addr addr = sock_addr_ip(&conf.servers[i]);
        must(addr.family == AF_INET || addr.family == AF_INET6);
        must(sock_addr_port(&conf.servers[i]) == 53);
    }
    for (size_t i = 0; i < conf.n_search; i++)
        must(conf.search[i].len > 1 && conf.search[i].name[conf.search[i].len - 1] == 0);
    return 0;
}
