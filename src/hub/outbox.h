/*
 * outbox.h
 *	  Edits of relations whose entity is decided behind a link: what is to be
 *	  sent there next, and what came of it.
 */
#ifndef SYNCEXT_OUTBOX_H
#define SYNCEXT_OUTBOX_H

#include "storage/itemptr.h"

#include "hub/batch.h"
#include "model/change.h"

/* The edits of a record, folded into one. */
typedef struct OutboxChange
{
	const char *entity;
	const char *external_id;
	bool		deleted;
	bool		cascade;		/* a foreign key did it, when another row was delivered */
	bool		has_version;	/* the row counts versions itself */
	int64		version;
	bool		has_updated_at;
	TimestampTz updated_at;
	bool		born;			/* no row of it is agreed on: base is 0 */
	bool		added;			/* columns that were added hold this: news where the record
								 * hasn't the fields */
	bool		anew;			/* the hub had this, but has lost the record: the same */
	int64		base;			/* the row version that it was made on, as agreed now */
	bool		stamped;		/* in a field ladder: version and time are its stamp, and it */
	LifeStamp	known;			/* says what was known, if it is a delete or born */
	const struct FieldState *state; /* of a field ladder, from a hub: all of the record; or NULL */
	Fields		fields;			/* none if it is deleted */
	Jsonb	   *counted;		/* no fields, but what was added to counters, in all; or NULL */
	bool		baseline;		/* which the record has already */
	Fields		summed;			/* and these, as they are in the row now, */
	Fields		added_sums;		/* and what of that was added since it was agreed on */
	Jsonb	   *counts;			/* and all that was counted ever */
	ItemPointerData replica_at;	/* where its row of replica was, if it has one */
} OutboxChange;

typedef struct OutboxBatch
{
	int64		batch;
	int			nchanges;		/* 0: there is nothing, and no batch to ack */
	OutboxChange *changes;	/* parents before children; a record may come
								 * several times, then in their order */
	int			nowed;			/* records left out, of which spoke_tables_retry() notes all */
	bool		more;			/* its window has more behind it */
	Cursor		at;				/* of one that was cut ahead: where the feed will stand */
} OutboxBatch;

/*
 * Cut the next batch, or the one that is out again, which has at most max
 * records, and not many more bytes than max_bytes.  Runs in a transaction of its own; the batch is leased once that has
 * committed.  All of it is allocated in the current memory context.
 */
extern void outbox_cut(const char *source, int max, Size max_bytes, OutboxBatch *out);

/*
 * Cut the batch that comes after the one that is out, whose answers aren't there yet.  It
 * isn't leased: outbox_ack() does that.  Returns false if there is none that could be cut
 * before its turn: it has none of the records of the one that is out, so that what is said
 * of them doesn't matter to it, and none is placed while it waits.
 */
extern bool outbox_cut_ahead(const char *source, int max, Size max_bytes, OutboxBatch *out);

/* The change as a document for the hub's sync_apply. */
extern Jsonb *outbox_document(const char *source, const OutboxChange *change);
/* The same as text, which is appended. */
extern void outbox_text(const char *source, const OutboxChange *change, StringInfo text);

/* Is this change of the batch of the same record as the one before it? */
extern bool outbox_change_follows(const OutboxBatch *batch, int i);

/* What the hub has said to a change of a batch. */
typedef struct PushedAnswer
{
	bool		written;		/* as it was sent, nothing of it lost */
	bool		unchallenged;	/* and others have set nothing since its base */
	bool		unheard;		/* the hub has no record of what it takes for an edit, and has
								 * made none: it needs all of it */
	int64		row_version;	/* of the hub's record then; 0: it has none, or it isn't known */
	bool		refused;		/* for good */
	const char *error;			/* why it was refused, or failed; NULL: it was decided */
} PushedAnswer;

/* Take what an answer in full says.  Of one that refuses or fails, reason is kept as the error. */
extern void pushed_answer_take(PushedAnswer *answer, int status, bool lost_any,
							   int64 row_version, const char *reason);

/*
 * The batch was answered, change by change.  Those that have an error are kept in
 * syncext.capture_failure, and brought up again later if they weren't refused for good.
 * The next one, if it was cut ahead, is leased: returns whether it is out now.
 */
extern bool outbox_ack(const char *source, const OutboxBatch *batch, const PushedAnswer *answers,
					   const OutboxBatch *next);

/*
 * The relation that the source's edits of the entity were captured from, which may have
 * been detached since; InvalidOid: it isn't known.
 */
extern Oid	outbox_relation(const char *source, const char *entity);

#endif							/* SYNCEXT_OUTBOX_H */
