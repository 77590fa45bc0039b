#include "base/curl.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define LIBRARY "libcurl.so.4"

struct symbol {
    const char *name;
    size_t at; /* in struct curl */
};

static const struct symbol symbols[] = {
    {"curl_global_init", offsetof(struct curl, global_init)},
    {"curl_global_cleanup", offsetof(struct curl, global_cleanup)},
    {"curl_easy_init", offsetof(struct curl, easy_init)},
    {"curl_easy_setopt", offsetof(struct curl, easy_setopt)},
    {"curl_easy_perform", offsetof(struct curl, easy_perform)},
    {"curl_easy_getinfo", offsetof(struct curl, easy_getinfo)},
    {"curl_easy_header", offsetof(struct curl, easy_header)},
    {"curl_easy_strerror", offsetof(struct curl, easy_strerror)},
    {"curl_easy_cleanup", offsetof(struct curl, easy_cleanup)},
    {"curl_multi_init", offsetof(struct curl, multi_init)},
    {"curl_multi_setopt", offsetof(struct curl, multi_setopt)},
    {"curl_multi_add_handle", offsetof(struct curl, multi_add_handle)},
    {"curl_multi_remove_handle", offsetof(struct curl, multi_remove_handle)},
    {"curl_multi_perform", offsetof(struct curl, multi_perform)},
    {"curl_multi_poll", offsetof(struct curl, multi_poll)},
    {"curl_multi_info_read", offsetof(struct curl, multi_info_read)},
    {"curl_multi_cleanup", offsetof(struct curl, multi_cleanup)},
    {"curl_slist_append", offsetof(struct curl, slist_append)},
    {"curl_slist_free_all", offsetof(struct curl, slist_free_all)},
};

_Static_assert(sizeof(symbols) / sizeof(symbols[0]) == sizeof(struct curl) / sizeof(void *), "one symbol per function");

int curl_load(struct curl *ret, struct why *why)
{
    /* Never closed: TLS libraries leave handlers for the end of the process behind. */
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library)
        return why_set(why, -ELIBACC, "libcurl cannot be loaded: %s", dlerror());
    struct curl curl;
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *function = dlsym(library, symbols[i].name);
        if (!function)
            return why_set(why, -ELIBACC, LIBRARY " has no %s: version 7.85 or later is expected", symbols[i].name);
        memcpy((char *)&curl + symbols[i].at, &function, sizeof(function));
    }
    if (curl.global_init(CURL_GLOBAL_DEFAULT))
        return why_set(why, -ELIBACC, LIBRARY " cannot be initialised");
    *ret = curl;
    return 0;
}
