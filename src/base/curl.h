/* libcurl, loaded by whoever is to send something: with what it needs itself (TLS, Kerberos, LDAP, SSH, ...) it is some
 * thirty libraries, which a sidecar without an endpoint would carry and bind at every start. The types and
 * constants are those of the header it was built with; the functions are found by name. Packages must declare the
 * dependency (Debian: libcurl4), since ldd(1) does not show it. */
#ifndef BASE_CURL_H
#define BASE_CURL_H

#include "base/why.h"

#include <curl/curl.h>

struct curl {
    __typeof__(curl_global_init) *global_init;
    __typeof__(curl_global_cleanup) *global_cleanup;
    __typeof__(curl_easy_init) *easy_init;
    __typeof__(curl_easy_setopt) *easy_setopt; /* the header's macro, which checks types, is not in the way */
    __typeof__(curl_easy_perform) *easy_perform;
    __typeof__(curl_easy_getinfo) *easy_getinfo;
    __typeof__(curl_easy_header) *easy_header;
    __typeof__(curl_easy_strerror) *easy_strerror;
    __typeof__(curl_easy_cleanup) *easy_cleanup;
    __typeof__(curl_multi_init) *multi_init;
    __typeof__(curl_multi_setopt) *multi_setopt;
    __typeof__(curl_multi_add_handle) *multi_add_handle;
    __typeof__(curl_multi_remove_handle) *multi_remove_handle;
    __typeof__(curl_multi_perform) *multi_perform;
    __typeof__(curl_multi_poll) *multi_poll;
    __typeof__(curl_multi_info_read) *multi_info_read;
    __typeof__(curl_multi_cleanup) *multi_cleanup;
    __typeof__(curl_slist_append) *slist_append;
    __typeof__(curl_slist_free_all) *slist_free_all;
};

/* Loads the library, which stays until the process ends, and initialises it. Reads files: milliseconds, blocking. 0, or
 * -ELIBACC and why: it is not there, lacks a function, or is older than the header. */
int curl_load(struct curl *ret, struct why *why);

#endif
