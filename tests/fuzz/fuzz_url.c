/* An endpoint's URL: what is taken names a host, and what is shown of any text has no secrets and no second line. */
#include "base/url.h"

#include "fuzz.h"

#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = malloc(len + 1), shown[URL_SHOWN_MAX];
    memcpy(text, data, len);
    text[len] = 0;
    struct url url;
    url_shown(text, shown);
    must(strlen(shown) < sizeof(shown));
    if (url_parse(text, &url) == 0) {
        struct ip_addr addr;
        must(url.host[0] && url.port);
        must(url.literal == (ip_parse(url.host, &addr) == 0));
        must(!url.literal || ip_equal(&addr, &url.addr));
        must(!strncasecmp(text, url.tls ? "https://" : "http://", url.tls ? 8 : 7));
        const char *rest = strstr(shown, "://") + 3;
        rest += strncmp(rest, "...@", 4) ? 0 : 4;
        rest += *rest == '[';
        must(!strncmp(rest, url.host, strlen(url.host)));
        rest += strlen(url.host);
        rest += *rest == ']';
        if (*rest == ':')
            rest += 1 + strspn(rest + 1, "0123456789");
        must(!*rest || !strcmp(rest, "/...")); /* and that something was left out */
    }
    free(text);
    return 0;
}
