#include "nft/kept.h"

#include "nft/elements.h"
#include "nft/sets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#define PIECE (COMMENT_MAX - 3) /* of text in one comment */
#define TEXT_MAX ((size_t)PIECE * (UINT16_MAX + 1))
#define TRIES 10 /* while others change the rule set */

static void put_text(struct batch *batch, const struct buf *text)
{
    struct elements elements = {.batch = batch, .type = NFT_MSG_NEWSETELEM, .set = KEPT_SET};
    for (size_t at = 0; at < text->len; at += PIECE) {
        char piece[PIECE + 1];
        size_t left = text->len - at, len = left < PIECE ? left : PIECE;
        uint16_t key = htons((uint16_t)(at / PIECE));
        memcpy(piece, text->data + at, len);
        piece[len] = '\0';
        elements_put(&elements, &(struct element){.key = &key, .size = sizeof(key), .comment = piece});
    }
    elements_end(&elements);
}

void kept_declare(struct batch *batch, const struct buf *text)
{
    set_of_numbers(batch, KEPT_SET);
    if (text->len <= TEXT_MAX)
        put_text(batch, text);
}

int kept_replace(struct batch *batch, const struct buf *text)
{
    elements_delete_all(batch, KEPT_SET);
    if (text->len > TEXT_MAX)
        return -EFBIG;
    put_text(batch, text);
    return 0;
}

/* Pieces as they come, which is in no order. */
struct reading {
    struct buf pieces; /* PIECE octets each, the last one filled up with zeros */
    size_t n, last_len;
};

static int take_piece(void *ctx, const struct element *element)
{
    struct reading *reading = ctx;
    uint16_t key;
    size_t len = element->comment ? strlen(element->comment) : 0;
    if (!element->key || element->size != sizeof(key) || !len || len > PIECE)
        return 0;
    memcpy(&key, element->key, sizeof(key));
    size_t at = (size_t)ntohs(key) * PIECE;
    static const char zeros[PIECE];
    while (reading->pieces.len < at + PIECE && !reading->pieces.failed)
        buf_append(&reading->pieces, zeros, PIECE);
    if (reading->pieces.failed)
        return -ENOMEM;
    memcpy(reading->pieces.data + at, element->comment, len);
    if (at + PIECE == reading->pieces.len)
        reading->last_len = len;
    reading->n++;
    return 0;
}

/* Only a text of which every piece is there. */
static int add_up(const struct reading *reading, struct buf *ret)
{
    size_t n = reading->pieces.len / PIECE;
    size_t len = n ? (n - 1) * PIECE + reading->last_len : 0;
    if (n && reading->n == n && !memchr(reading->pieces.data, '\0', len))
        buf_append(ret, reading->pieces.data, len);
    return ret->failed ? -ENOMEM : 0;
}

int kept_read(struct conn *conn, struct buf *ret, struct why *why)
{
    struct reading reading = {0};
    struct element_reader reader = {.take = take_piece, .ctx = &reading};
    int error = -EINTR;
    for (size_t i = 0; i < TRIES && error == -EINTR; i++) {
        _Alignas(struct nlmsghdr) char room[128] = {0}; /* padding is sent, too */
        struct nlmsghdr *question = elements_question(room, KEPT_SET, NLM_F_DUMP);
        buf_clear(&reading.pieces);
        reading.n = 0;
        error = conn_ask(conn, question, question->nlmsg_len, elements_read, &reader, why);
    }
    if (error == -ENOENT) /* no table, or one of an older program */
        error = 0;
    else if (!error)
        error = add_up(&reading, ret);
    buf_done(&reading.pieces);
    return error;
}
