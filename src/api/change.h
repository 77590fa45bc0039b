/* Policy changes, one at a time, in the order in which their bodies were complete. Each is made from the policy that is
 * in force when its turn comes:
 *
 *   make the next policy → write the file aside → the loop applies it → put the file in place → adopt it →
 *   the loop ends the flows that lost permission → answer
 *
 * Whatever fails leaves kernel, memory and file with the old policy: a file that cannot be put in place sends the old
 * policy to the loop once more. The request waits suspended; a client that goes away changes nothing. All of this runs
 * in the API's thread; only the loop's verdict is given in another and comes back through the API's mailbox. */
#ifndef API_CHANGE_H
#define API_CHANGE_H

#include "api/api.h"
#include "api/request.h"
#include "base/buf.h"
#include "base/file.h"

struct change {
    struct policy_change letter; /* to the loop */
    struct mail verdict;         /* and back */
    struct api *api;
    struct request *request;
    struct file_replacement *file;
    bool settling;       /* done, but for what the loop does then */
    bool reverting;      /* the old policy is on its way back to the loop */
    struct why why_back; /* because of this */
    /* What the maker fills. */
    struct policy *next;
    struct buf rules; /* JSON, for the record */
    size_t n_rules;
    bool reset;
};

struct change_queue {
    struct change under_way;
    bool busy; /* the loop has `under_way` */
    struct request *first, *last;
    unsigned n_waiting;
    struct loop_timer again; /* due when the next one's turn comes after one that was refused */
};

void change_queue_init(struct api *api);
/* Queues the request, and starts it when its turn is now. */
void change_submit(struct api *api, struct request *request, change_maker *make);
/* Refuses: answers with one line and, unless it was a dry run, records egress.update_failed. Always false, for makers.
 */
bool change_refuse(struct api *api, struct request *request, unsigned status, const char *line);
/* Answers all who wait for their turn with 503. The one under way is left to end. */
void change_cancel_waiting(struct api *api);

#endif
