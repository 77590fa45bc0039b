/* What other threads ask of the loop. */
#include "daemon/state.h"

#include <errno.h>

#define LISTED_MAX 1000 /* leases, as many as a dry run tells of */

static void change_settled(void *ctx, int error, const struct why *why)
{
    struct daemon *daemon = ctx;
    struct policy_change *change = daemon->change;
    enforcer_settled(&daemon->enforcer, error, why); /* the policy is in force all the same */
    change->answered(change);
}

static void change_previewed(void *ctx, int error, const struct why *why)
{
    struct daemon *daemon = ctx;
    struct policy_change *change = daemon->change;
    change->error = error;
    change->why = *why;
    change->answered(change);
}

static void deliver_change(struct mail *mail, void *ctx)
{
    struct policy_change *change = (struct policy_change *)mail; /* its first member */
    struct daemon *daemon = ctx;
    daemon->change = change;
    if (change->dry_run) {
        enforcer_preview(&daemon->enforcer, change->next, &change->forecast, change_previewed, daemon);
        return;
    }
    if (change->settled) {
        daemon->held = false;
        daemon_tell_health(daemon);
        enforcer_settle(&daemon->enforcer, change_settled, daemon);
        return;
    }
    /* Before and after: no answer says that a policy is in force in a table that somebody has changed. */
    daemon_look(daemon);
    change->error = enforcer_change(&daemon->enforcer, change->next, &change->why);
    if (change->error == -ENOENT || change->error == -EEXIST) { /* somebody was faster */
        daemon_look(daemon);
        change->error = enforcer_change(&daemon->enforcer, change->next, &change->why);
    }
    daemon_look(daemon);
    /* A refused change leaves the old policy whole; a refused way back leaves a policy that nobody was promised. */
    if (!change->error || change->back)
        daemon->file_lost = change->error;
    daemon_tell_health(daemon);
    change->answered(change);
}

static void post_change(void *ctx, struct policy_change *change)
{
    struct daemon *daemon = ctx;
    change->mail.deliver = deliver_change;
    mailbox_post(daemon->mailbox, &change->mail);
}

static void put_lease(void *ctx, const struct lease_info *lease)
{
    struct buf *list = ctx;
    buf_puts(list, list->len ? "," : "");
    lease_info_to_json(lease, list);
}

static void deliver_question(struct mail *mail, void *ctx)
{
    struct policy_question *question = (struct policy_question *)mail; /* its first member */
    struct daemon *daemon = ctx;
    if (question->about == ABOUT_HEALTH)
        daemon_look(daemon);
    struct policy_layers layers = enforcer_layers(&daemon->enforcer);
    question->layers = policy_layers_ref(&layers);
    switch (question->about) {
    case ABOUT_ADDRESS:
        nft_lookup(daemon->enforcer.nft, &question->addr, &question->lease);
        question->is_own = dns_proxy_is_home(daemon->enforcer.proxy, &question->addr);
        break;
    case ABOUT_SEEN:
        if (seen_copy(daemon->seen, &question->seen))
            question->seen = NULL;
        break;
    case ABOUT_LEASES:
        question->n_leases = nft_list(daemon->enforcer.nft, LISTED_MAX, put_lease, &question->leases);
        break;
    case ABOUT_POLICY:
    case ABOUT_HEALTH:
        break;
    }
    question->answered(question);
}

static void post_question(void *ctx, struct policy_question *question)
{
    struct daemon *daemon = ctx;
    question->mail.deliver = deliver_question;
    mailbox_post(daemon->mailbox, &question->mail);
}

static void deliver_lookup(struct mail *mail, void *ctx)
{
    struct daemon *daemon = ctx;
    dns_proxy_look_up(daemon->enforcer.proxy, (struct lookup *)mail); /* its first member */
}

void daemon_post_lookup(void *ctx, struct lookup *lookup)
{
    struct daemon *daemon = ctx;
    lookup->mail.deliver = deliver_lookup;
    mailbox_post(daemon->mailbox, &lookup->mail);
}

static bool healthy(void *ctx, struct why *why)
{
    struct daemon *daemon = ctx;
    const char *trouble = atomic_load_explicit(&daemon->trouble, memory_order_acquire);
    if (trouble)
        why_set(why, 0, "%s", trouble);
    return !trouble;
}

static bool alive(void *ctx, struct why *why)
{
    struct daemon *daemon = ctx;
    uint64_t turned = atomic_load_explicit(&daemon->turned_ns, memory_order_relaxed), now = clock_monotonic_ns();
    if (now < turned + HUNG_NS)
        return true;
    why_set(why, 0, "the loop has not turned for %llu s", (unsigned long long)((now - turned) / NS_PER_S));
    return false;
}

static bool health_is_old(void *ctx)
{
    struct daemon *daemon = ctx;
    return nft_is_behind(daemon->enforcer.nft);
}

struct api_hooks daemon_api_hooks(struct daemon *daemon)
{
    return (struct api_hooks){.ctx = daemon,
                              .change = post_change,
                              .ask = post_question,
                              .healthy = healthy,
                              .health_is_old = health_is_old,
                              .alive = alive,
                              .metrics = daemon_render_metrics};
}
