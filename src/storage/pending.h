/*
 * pending.h
 *	  Deliveries that failed, retries and dead letters: table syncext.pending.
 *
 * Whoever writes here holds the target's cursor of the slot that the record
 * belongs to.
 */
#ifndef SYNCEXT_PENDING_H
#define SYNCEXT_PENDING_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/slot.h"

typedef struct Pending
{
	const char *entity;
	const char *external_id;
	int64		row_version;	/* the newest that the target lacks */
	bool		correction;
	int			attempts;		/* failures so far */
	TimestampTz since;
	bool		dead;
	TimestampTz dead_since;		/* if it is; 0: since it is stored */
	TimestampTz next_attempt;	/* if it isn't dead */
	int64		batch;			/* the last that it was put into; 0: none */
	const char *error;			/* or NULL */
} Pending;

typedef struct PendingTable PendingTable;

extern PendingTable *pending_open(const char *target, bool write);
extern void pending_close(PendingTable *table);

/* Has the target anything pending, dead or alive? */
extern bool pending_any(PendingTable *table);
extern bool pending_find(PendingTable *table, const char *entity, const char *external_id,
						 Pending *pending);
/* When the slot's first attempt is due; DT_NOEND: none ever. */
extern TimestampTz pending_next_due(PendingTable *table, Slot slot);
/*
 * Lists of Pending: the slot's that are due by a time, the earliest first;
 * those in a batch; the slot's of a record.
 */
extern List *pending_due(PendingTable *table, Slot slot, TimestampTz by, int max);
extern List *pending_in_batch(PendingTable *table, int64 batch, int n);
extern List *pending_matching(PendingTable *table, Slot slot, const char *entity,
							  const char *external_id);

/* Insert the record's row or write over it; delete it if it is there. */
extern void pending_save(PendingTable *table, const Pending *pending);
extern void pending_delete(PendingTable *table, const char *entity, const char *external_id);

#endif							/* SYNCEXT_PENDING_H */
