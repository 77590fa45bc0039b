#include "base/mailbox.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    struct loop *loop;
    struct loop_source source;
    void *ctx;
    _Atomic(struct mail *) newest; /* a stack: posting is one compare-and-swap, the reader reverses it */
};

static void deliver_all(struct loop_source *source, uint32_t events)
{
    struct mailbox *box = source->owner;
    uint64_t count;
    /* Cleared before the stack is taken: a letter posted in between rings again. */
    if (read(source->fd, &count, sizeof(count)) < 0)
        return;
    struct mail *stack = atomic_exchange_explicit(&box->newest, NULL, memory_order_acquire);
    struct mail *oldest = NULL;
    while (stack) {
        struct mail *next = stack->next;
        stack->next = oldest;
        oldest = stack;
        stack = next;
    }
    while (oldest) {
        struct mail *mail = oldest;
        oldest = mail->next; /* `deliver` may free it */
        mail->deliver(mail, box->ctx);
    }
}

int mailbox_new(struct loop *loop, void *ctx, struct mailbox **ret)
{
    struct mailbox *box = calloc(1, sizeof(*box));
    if (!box)
        return -ENOMEM;
    box->loop = loop;
    box->ctx = ctx;
    box->source =
        (struct loop_source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = deliver_all, .owner = box};
    int error = box->source.fd < 0 ? -errno : loop_add(loop, &box->source, EPOLLIN);
    if (error) {
        if (box->source.fd >= 0)
            close(box->source.fd);
        free(box);
        return error;
    }
    *ret = box;
    return 0;
}

void mailbox_free(struct mailbox *box)
{
    if (!box)
        return;
    loop_remove(box->loop, &box->source);
    close(box->source.fd);
    free(box);
}

void mailbox_post(struct mailbox *box, struct mail *mail)
{
    mail->next = atomic_load_explicit(&box->newest, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&box->newest, &mail->next, mail, memory_order_release,
                                                  memory_order_relaxed))
        ;
    uint64_t one = 1;
    /* Fails only when the counter is full, and then the reader has been rung already. */
    ssize_t ignored = write(box->source.fd, &one, sizeof(one));
    (void)ignored;
}
