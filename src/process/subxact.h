/*
 * subxact.h
 *	  Trying something in a subtransaction.
 *
 * These are the only subtransactions that we begin.  The function runs, and its
 * error comes, in the caller's memory context.
 */
#ifndef SYNCEXT_SUBXACT_H
#define SYNCEXT_SUBXACT_H

#include "utils/elog.h"

/* Call function(arg).  Returns its error, or NULL: then what it did stays. */
extern ErrorData *subxact_try(void (*function) (void *arg), void *arg);
/*
 * Like subxact_try(), but returns false where it had to wait for a lock for too long,
 * and raises any other error.
 */
extern bool subxact_try_lock(void (*function) (void *arg), void *arg);
/* Call function(arg) and take back all that it did.  Returns its error, or NULL. */
extern ErrorData *subxact_probe(void (*function) (void *arg), void *arg);
/* Like subxact_probe(), but raises the error. */
extern void subxact_dry(void (*function) (void *arg), void *arg);

/* Is what happens now taken back in any case, by one of the two? */
extern bool subxact_is_dry(void);

/*
 * Is the error the server's, or another transaction's: does it say nothing of what was
 * tried?  Then it isn't the record's, and the caller raises it.
 */
extern bool subxact_error_passes(int sqlerrcode);

#endif							/* SYNCEXT_SUBXACT_H */
