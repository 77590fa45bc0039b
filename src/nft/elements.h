/* Elements of sets: messages that add or delete any number of them, split before they grow too large. Written with
 * libmnl, since libnftnl would allocate memory for each element, of which every DNS answer brings some. */
#ifndef NFT_ELEMENTS_H
#define NFT_ELEMENTS_H

#include "base/ip.h"
#include "nft/batch.h"

struct element {
    const void *key; /* network byte order */
    size_t size;
    uint32_t flags;      /* NFT_SET_ELEM_* */
    uint64_t timeout_ms; /* of one that is read: what is left of it; 0: none */
    const char *comment; /* at most COMMENT_MAX octets without a NUL; NULL: none */
};

/* What nft(8) shows; nft takes 128 from people but shows any. With type, length and NUL it is 254 octets of userdata:
 * kernels since 5.19 count one more than they are in one octet, and refuse longer ones with EINVAL, though their policy
 * says 256 (nft_set_ext_tmpl.ext_len). */
#define COMMENT_MAX 251

/* A run of elements of one set. Opens a message when the first element comes. */
struct elements {
    struct batch *batch;
    uint16_t type; /* NFT_MSG_NEWSETELEM or NFT_MSG_DELSETELEM */
    const char *set;
    uint32_t set_id; /* of an anonymous set, else 0 */
    struct nlmsghdr *nlh;
    struct nlattr *list;
};

void elements_put(struct elements *elements, const struct element *element);
/* Closes the run; no other message may be built between the first elements_put() and this. */
void elements_end(struct elements *elements);
/* Deletes all elements of a set. */
void elements_delete_all(struct batch *batch, const char *set);

/* An interval of an interval set. */
void elements_put_range(struct elements *elements, const struct ip_range *range);
/* Adds ranges to an interval set. They are disjoint, ascending and not adjacent. */
void elements_put_ranges(struct batch *batch, const char *set, const struct ip_range *ranges, size_t n);

/* Reads an element as the kernel lists it; all pointers point into `item`. What is malformed or missing is empty. */
struct element element_read(const struct nlattr *item);

/* For conn_ask(): hands each element of an answer to `take`, until it returns an error. */
struct element_reader {
    int (*take)(void *ctx, const struct element *element);
    void *ctx;
};

int elements_read(void *reader, const struct nlmsghdr *answer);
/* Writes the head of a question for elements of a set into `room`, 128 bytes; the caller may append a list. */
struct nlmsghdr *elements_question(void *room, const char *set, uint16_t flags);

#endif
