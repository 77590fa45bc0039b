/* The page for people: src/api/page/page.html as the build packs it (src/api/page/pack.py). */
#ifndef API_PAGE_H
#define API_PAGE_H

#include <stddef.h>

extern const unsigned char page_gzip[];
extern const size_t page_gzip_len;
extern const size_t page_len; /* unpacked */
/* Its Content-Security-Policy. */
extern const char page_policy[];

#endif
