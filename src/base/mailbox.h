/* Letters from any thread to the loop thread, without locks; delivered in the order they were posted. */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include "base/loop.h"

struct mailbox;

/* Embedded in what is sent. The mailbox never owns it: from mailbox_post() until `deliver` runs it must stay alive. */
struct mail {
    struct mail *next;
    /* Runs in the loop thread. */
    void (*deliver)(struct mail *mail, void *ctx);
};

/* `ctx` is handed to every `deliver`. 0 or -errno. */
int mailbox_new(struct loop *loop, void *ctx, struct mailbox **ret);
void mailbox_free(struct mailbox *box);
/* Any thread; does not block. */
void mailbox_post(struct mailbox *box, struct mail *mail);

#endif
