/*
 * feed.h
 *	  One target's feed: its tables, its cursor, and whether there is anything
 *	  in it.
 */
#ifndef SYNCEXT_FEED_H
#define SYNCEXT_FEED_H

#include "hub/backfill.h"
#include "storage/pending.h"
#include "storage/record_set.h"

struct BatchRecord;

/* A slot of a target's feed, open for the time of a call, and the batch at hand. */
typedef struct Feed
{
	const Registry *registry;
	const Source *target;
	Consumer	consumer;
	TimestampTz now;
	CursorTable *cursors;
	PendingTable *pending;
	FeedLog    *log;
	Cursor		cursor;
	Tick		lo;				/* the cursor's ticks; hi if it has one */
	Tick		hi;
	bool		captured;		/* what it serves are edits for the hub behind a link */
	bool		wants_changed;	/* the caller asks which fields have changed */
	TimestampTz idle_until;		/* set by feed_idle(): when a retry or a parked change is due */

	bool		any_pending;	/* the target has rows in pending */
	int			nrecords;
	int			room;			/* for records */
	struct BatchRecord *records;
	int			ndeferred;		/* how many of them are left out */
	RecordSet  *members;		/* their places in records, from 1; flag: the window
								 * has it as a correction.  Freed by hub/batch */
	StringInfoData key;			/* of the record being looked for */
} Feed;

/* Was there nothing to do for the slot, and hasn't there been since?  Opens no table. */
extern bool feed_known_idle(const char *target, Consumer consumer);
extern Feed *feed_open(const char *source, Consumer consumer, bool write);
extern void feed_close(Feed *feed);
/* Is there nothing to serve?  Holds no lock, writes nothing. */
extern bool feed_idle(Feed *feed);
/* The same of all slots of the source; *until is when time alone ends it. */
extern bool feed_source_idle(const char *source, TimestampTz *until);
/*
 * Hold the slot's cursor until the end of the transaction.  A target that has
 * another number of slots gets the one that the slot is of; with 0 it keeps
 * what it has, and consumer.count says then how many that is.
 */
extern void feed_lock(Feed *feed);
/* Store the cursor; once a call, at its end. */
extern void feed_save(Feed *feed);
/* Open the window up to now, if there is anything in it. */
extern bool feed_open_window(Feed *feed);

#endif							/* SYNCEXT_FEED_H */
