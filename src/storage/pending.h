/*
 * pending.h
 *	  Deliveries that failed, retries and dead letters: table syncext.pending.
 *
 * A backend that writes a row holds the target's cursor of the slot that the
 * record belongs to.
 */
#ifndef SYNCEXT_PENDING_H
#define SYNCEXT_PENDING_H

#include "nodes/pg_list.h"

#include "storage/attempt.h"
#include "storage/consumer.h"

typedef struct Pending
{
	const char *target;			/* the table's, whatever is saved with it */
	const char *entity;
	const char *external_id;
	int64		row_version;	/* the newest that the target lacks */
	bool		correction;
	TimestampTz since;			/* the first failure */
	Attempt		attempt;
	int64		batch;			/* the last that it was put into; 0: none */
	bool		put_off;		/* it has not failed: it waits for its parent */
} Pending;

typedef struct PendingTable PendingTable;

extern PendingTable *pending_open(const char *target, bool write);
extern void pending_close(PendingTable *table);

/* Has the target anything pending, dead or alive? */
extern bool pending_any(PendingTable *table);
extern bool pending_find(PendingTable *table, const char *entity, const char *external_id,
						 Pending *pending);
/* When the slot's first attempt is due; DT_NOEND: none ever. */
extern TimestampTz pending_next_due(PendingTable *table, Consumer consumer);
/*
 * Lists of Pending: the slot's that are due by a time, the earliest first;
 * those in a batch; the slot's of a record.
 */
extern List *pending_due(PendingTable *table, Consumer consumer, TimestampTz by, int max);
extern List *pending_in_batch(PendingTable *table, int64 batch, int n);
extern List *pending_matching(PendingTable *table, Consumer consumer, const char *entity,
							  const char *external_id);

/* Insert the record's row or write over it; delete it if it is there. */
extern void pending_save(PendingTable *table, const Pending *pending);
extern void pending_delete(PendingTable *table, const char *entity, const char *external_id);

#endif							/* SYNCEXT_PENDING_H */
