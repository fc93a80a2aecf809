/*
 * captured.h
 *	  Edits of relations whose entity is decided behind a link: what is to be
 *	  sent there next, and what came of it.
 */
#ifndef SYNCEXT_CAPTURED_H
#define SYNCEXT_CAPTURED_H

#include "storage/itemptr.h"

#include "hub/batch.h"
#include "model/change.h"

/* The edits of a record, folded into one. */
typedef struct CapturedChange
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
	int64		base;			/* the row version that it was made on, as agreed now */
	Fields		fields;			/* none if it is deleted */
	ItemPointerData replica_at;	/* where its row of replica was, if it has one */
} CapturedChange;

typedef struct CapturedBatch
{
	int64		batch;
	int			nchanges;		/* 0: there is nothing, and no batch to ack */
	CapturedChange *changes;	/* parents before children; a record may come
								 * several times, then in their order */
	int			nowed;			/* records left out, of which linked_retry() notes all */
} CapturedBatch;

/*
 * Cut the next batch, or the one that is out again, which has at most max
 * records, and not many more bytes than max_bytes.  Runs in a transaction of its own; the batch is leased once that has
 * committed.  All of it is allocated in the current memory context.
 */
extern void captured_cut(const char *source, int max, Size max_bytes, CapturedBatch *out);

/* The change as a document for the hub's sync_apply. */
extern Jsonb *captured_document(const char *source, const CapturedChange *change);

/*
 * The batch was answered, but for failures: those that the hub refused or could
 * not take.  They are kept in syncext.capture_failure, and those that aren't
 * refused for good (busy) are brought up again later.
 */
extern void captured_ack(const char *source, int64 batch, const BatchFailure *failures,
						 int nfailures);

/*
 * The relation that the source's edits of the entity were captured from, which may have
 * been detached since; InvalidOid: it isn't known.
 */
extern Oid	captured_relation(const char *source, const char *entity);

/* When an edit that failed so often is brought up again. */
extern TimestampTz captured_retry_at(int attempts);

/*
 * Give the edits of the source that weren't answered yet the present
 * transaction's id, for they are to be in the next window of a cursor that
 * starts anew in it.  Needs an SPI connection, and a Section.
 */
extern void captured_renew(const char *source);

/* A source's batch that is out, and wasn't answered yet. */
typedef struct CapturedFlight
{
	const char *source;
	bool		any;
	int64		batch;
} CapturedFlight;

extern CapturedFlight captured_flight(const char *source);
/*
 * Is an edit of the record in it?  Another session's batch, one of before a crash, and
 * one that this session knows no more may be of any record.
 */
extern bool captured_is_out(const CapturedFlight *out, const char *entity,
							const char *external_id);

#endif							/* SYNCEXT_CAPTURED_H */
