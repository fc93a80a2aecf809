/*
 * linked.h
 *	  Attached relations whose entity is decided by the hub behind a link.
 *
 * For their rows replica.fields holds what was last agreed on with that hub:
 * delivered, or sent and answered.  A row that differs from it has an edit
 * that the hub has not answered yet, and is never overwritten.
 */
#ifndef SYNCEXT_LINKED_H
#define SYNCEXT_LINKED_H

#include "hub/captured.h"
#include "local/place.h"

/* A record as the hub delivers it, and what came of it here. */
typedef struct LinkedRecord
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
	bool		correction;		/* our own change lost: this counts whatever row
								 * version was seen */

	bool		busy;			/* somebody holds the row, or it has an edit that
								 * the hub has not answered */
	char	   *error;			/* why it failed, or was busy; NULL: it is placed */
	bool		written;		/* the row changed */
	bool		known;			/* it was placed before, and the row is still so */
} LinkedRecord;

/*
 * The record's fields, and as null those that were agreed on before (none if
 * NULL) and that it doesn't have any more: it was deleted and came back.
 */
extern Fields linked_fields(const LinkedRecord *record, Jsonb *agreed);

/*
 * Write records of the source into its relations, in their order.  Those of
 * entities that it has no relation for count as placed.
 */
extern void linked_place(const char *source, LinkedRecord *records, int n);

/* What the hub said to a change that was sent. */
typedef struct LinkedAnswer
{
	const CapturedChange *change;
	bool		written;		/* as it was sent, and nothing was lost */
	bool		alone;			/* and the record is all ours, as far as we don't know it */
	int64		row_version;	/* the record's after it; 0: unchanged */
} LinkedAnswer;

extern void linked_answered(const char *source, const LinkedAnswer *answers, int n);

/*
 * Capture what differs between a row that is locked (place_lock_row) and what
 * was agreed on; with_added also what columns hold that were added since.  Returns
 * whether anything does.
 */
extern bool linked_capture(Placement *placement, bool with_added);
/*
 * Make a row that is locked as it was last agreed on with the hub, but for edits that
 * were captured and not answered.
 */
extern PlaceOutcome linked_restore(Placement *placement);

/*
 * Bring up again edits that failed and are due for another attempt: what
 * differs from what was agreed on is captured anew.  Returns how many rows.
 */
extern int	linked_retry(const char *source);

/*
 * Raise 55000 if the relation would give an entity two hubs.  Whoever attaches
 * a relation, or links its source, asks.
 */
extern void linked_check_binding(const Binding *binding);

/*
 * What was agreed on with the hub outlasts that a relation is detached and attached
 * again.  Of one that is about to be detached linked_keep() says whether it does; of
 * one that was attached, and is known to be so, linked_resume() takes up what was kept.
 */
extern bool linked_keep(const Binding *binding);
extern void linked_resume(const Binding *binding);

/*
 * Call these in the transaction that writes syncext.link, after the link was
 * added (and the command counter moved on), and before it is removed.  They
 * wait for who is writing to the source's relations.
 */
extern void linked_start(const char *source);
/*
 * The hub has gone back in time: what was kept of relations that are detached now
 * says nothing of what it has.
 */
extern void linked_forget_detached(const char *source);
extern void linked_end(const char *source);

#endif							/* SYNCEXT_LINKED_H */
