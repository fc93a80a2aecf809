/*
 * spoke_tables.h
 *	  Attached relations whose entity is decided by the hub behind a link.
 *
 * For their rows replica.fields holds what was last agreed on with that hub:
 * delivered, or sent and answered.  A row that differs from it has an edit
 * that the hub has not answered yet, and is never overwritten.
 */
#ifndef SYNCEXT_SPOKE_TABLES_H
#define SYNCEXT_SPOKE_TABLES_H

#include "hub/outbox.h"
#include "hub/outbox_flight.h"
#include "local/row_write.h"

/* A record as the hub delivers it, and what came of it here. */
typedef struct PulledRecord
{
	const char *entity;
	const char *external_id;
	int64		version;
	int64		row_version;
	bool		deleted;
	bool		has_updated_at;
	TimestampTz updated_at;		/* when it was last edited, as its sources say */
	Jsonb	   *fields;			/* those that are delivered; others are left alone */
	bool		whole;			/* fields that don't come, and that the hub doesn't
								 * keep back, the record doesn't have */
	Fields		withheld;		/* those that it keeps back: their names */
	Jsonb	   *state;			/* of a field ladder, what another hub has to know; or NULL */
	Jsonb	   *counted;		/* how much of what we have added to counters it has; or NULL */
	List	   *merged_from;	/* of char *: records that have become a part of it there, and
								 * of which it knows a row here */
	bool		correction;		/* our own change lost: this counts whatever row
								 * version was seen */

	bool		awaits_row;		/* one that is to become its own: local/spoke_merges */
	bool		busy;			/* another transaction holds the row, or it has an edit that
								 * the hub has not answered */
	bool		waits;			/* busy, as it refers to a record that has no row here */
	char	   *error;			/* why it failed, or was busy; NULL: it is placed */
	bool		written;		/* the row changed */
	bool		known;			/* it was placed before, and the row is still so */
} PulledRecord;

/*
 * The record's fields, and as null those that were agreed on before (none if
 * NULL) and that it doesn't have any more: it was deleted and came back.
 */
extern Fields pulled_fields(const PulledRecord *record, Jsonb *agreed);

/*
 * Write records of the source into its relations, in their order.  Those of
 * entities that it has no relation for count as placed.
 */
extern void spoke_tables_place(const char *source, PulledRecord *records, int n);

/*
 * Note what the hub said to the batch, and that it is done; returns whether the next one,
 * that was cut ahead or is NULL, is out now.
 */
extern bool spoke_tables_answered(const char *source, const OutboxBatch *batch,
								  const PushedAnswer *answers, const OutboxBatch *next);

/*
 * Capture what differs between a row that is locked (row_write_lock_row) and what
 * was agreed on; with_added also what columns hold that were added since.  Returns
 * whether anything does.
 */
extern bool spoke_tables_capture(RowState *state, bool with_added);
/*
 * Has a row an edit that was captured, and that the hub has not answered, or refused?  settled is
 * what is remembered of the row.
 */
extern bool spoke_tables_outstanding(const InFlight *flight, const Binding *binding,
									 const char *external_id, int64 settled);
extern bool spoke_tables_unanswered(const RowState *state);
/* Does it differ, but for what columns hold that were added since? */
extern bool spoke_tables_differs(RowState *state);
/*
 * Make a row that is locked as it was last agreed on with the hub, but for edits that
 * were captured and not answered.
 */
extern RowWriteOutcome spoke_tables_restore(RowState *state);

/*
 * Bring up again edits that failed and are due for another attempt: what
 * differs from what was agreed on is captured anew.  Returns how many rows.
 */
extern int	spoke_tables_retry(const char *source);

/*
 * Raise 55000 if the relation would give an entity two hubs: asked when a relation is
 * attached, and when its source is linked.
 */
extern void spoke_check_binding(const Binding *binding);

/*
 * What was agreed on with the hub outlasts that a relation is detached and attached
 * again.  Of one that is about to be detached spoke_keep() says whether it does; of
 * one that was attached, and is known to be so, spoke_resume() takes up what was kept.
 */
extern bool spoke_keep(const Binding *binding);
extern void spoke_resume(const Binding *binding);

/*
 * Call these in the transaction that writes syncext.link, after the link was
 * added (and the command counter moved on), and before it is removed.  They wait for
 * transactions that have written to the source's relations.
 */
extern void spoke_start(const char *source);
/*
 * The hub has gone back in time: what was kept of relations that are detached now
 * says nothing of what it has.
 */
extern void spoke_forget_detached(const char *source);
extern void spoke_end(const char *source);

#endif							/* SYNCEXT_SPOKE_TABLES_H */
