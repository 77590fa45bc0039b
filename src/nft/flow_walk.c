#include "nft/flow_walk.h"

#include "nft/flows.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>

#define STACK_SIZE (256u << 10)

struct flow_walk {
    struct mail mail; /* to the loop: choose, or it is over */
    struct mailbox *mailbox;
    struct flow_walk_hooks hooks;
    unsigned delay_ms;
    pthread_t thread;
    sem_t chosen;
    atomic_bool given_up;
    struct conn *list, *end; /* two, since an answer is still coming on the first */
    struct buf *flows;       /* while the loop chooses */
    bool is_over;
    int error;
    struct why why;
};

static void release(struct flow_walk *walk)
{
    pthread_join(walk->thread, NULL);
    sem_destroy(&walk->chosen);
    conn_free(walk->list);
    conn_free(walk->end);
    free(walk);
}

/* The loop. */
static void deliver(struct mail *mail, void *ctx)
{
    struct flow_walk *walk = (struct flow_walk *)mail; /* its first member */
    if (!walk->is_over) {
        walk->error = walk->hooks.choose(walk->hooks.ctx, walk->flows, &walk->why);
        sem_post(&walk->chosen);
        return;
    }
    struct flow_walk_hooks hooks = walk->hooks;
    struct why why = walk->why;
    int error = walk->error;
    release(walk);
    hooks.over(hooks.ctx, error, &why);
}

/* The rest is the thread's. */
static int take(void *ctx, struct buf *flows)
{
    struct flow_walk *walk = ctx;
    if (atomic_load(&walk->given_up) || walk->error)
        return -ECANCELED;
    walk->flows = flows;
    mailbox_post(walk->mailbox, &walk->mail);
    while (sem_wait(&walk->chosen) && errno == EINTR)
        ;
    if (atomic_load(&walk->given_up))
        return -ECANCELED;
    return walk->error ? walk->error : flows_end(walk->end, flows, &walk->why);
}

static int forget_dns(struct flow_walk *walk, struct why *why)
{
    _cleanup_buf_ struct buf flows = {0};
    int error = flows_find_dns(walk->list, &flows, why);
    return error ? error : flows_forget(walk->end, &flows, why);
}

static void *run(void *arg)
{
    struct flow_walk *walk = arg;
    struct why why = {""};
    poll(NULL, 0, (int)walk->delay_ms);
    int error = -ECANCELED;
    if (!atomic_load(&walk->given_up))
        error = walk->hooks.choose ? flows_list(walk->list, take, walk, &why) : forget_dns(walk, &why);
    if (error && !walk->why.text[0])
        walk->why = why;
    walk->error = error;
    walk->is_over = true;
    if (!atomic_load(&walk->given_up))
        mailbox_post(walk->mailbox, &walk->mail);
    return NULL;
}

static int start_thread(struct flow_walk *walk)
{
    pthread_attr_t attr;
    int error = pthread_attr_init(&attr);
    if (error)
        return -error;
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    error = pthread_create(&walk->thread, &attr, run, walk);
    pthread_attr_destroy(&attr);
    return -error;
}

int flow_walk_start(struct mailbox *mailbox, const struct flow_walk_hooks *hooks, unsigned delay_ms,
                    struct flow_walk **ret, struct why *why)
{
    struct flow_walk *walk = calloc(1, sizeof(*walk));
    if (!walk)
        return why_set(why, -ENOMEM, "out of memory");
    *walk = (struct flow_walk){.mail = {.deliver = deliver}, .mailbox = mailbox, .hooks = *hooks, .delay_ms = delay_ms};
    sem_init(&walk->chosen, 0, 0);
    int error = conn_open(&walk->list, why);
    if (!error)
        error = conn_open(&walk->end, why);
    if (!error) {
        error = start_thread(walk);
        if (error)
            why_set(why, error, "no thread: %s", strerror(-error));
    }
    if (error) {
        sem_destroy(&walk->chosen);
        conn_free(walk->list);
        conn_free(walk->end);
        free(walk);
        return error;
    }
    *ret = walk;
    return 0;
}

void flow_walk_free(struct flow_walk *walk)
{
    if (!walk)
        return;
    atomic_store(&walk->given_up, true);
    sem_post(&walk->chosen);
    release(walk);
}
