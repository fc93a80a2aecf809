/*
 * feed.h
 *	  One target's feed: its tables, its cursor, and whether there is anything
 *	  in it.
 */
#ifndef SYNCEXT_FEED_H
#define SYNCEXT_FEED_H

#include "storage/cursor.h"
#include "storage/pending.h"
#include "storage/record_set.h"

struct BatchRecord;

/* One target's feed, open for the time of a call, and the batch at hand. */
typedef struct Feed
{
	const Registry *registry;
	const Source *target;
	TimestampTz now;
	CursorTable *cursors;
	PendingTable *pending;
	FeedLog    *log;
	Cursor		cursor;
	Tick		lo;				/* the cursor's ticks; hi if it has one */
	Tick		hi;

	bool		any_pending;	/* the target has rows in pending */
	int			nrecords;
	int			room;			/* for records */
	struct BatchRecord *records;
	int			nheld;			/* how many of them are left out */
	RecordSet  *members;		/* their places in records, from 1 */
	StringInfoData key;			/* of the record being looked for */
} Feed;

/* Was the target idle, and has nothing happened since?  Opens no table. */
extern bool feed_known_idle(const char *target);
extern Feed *feed_open(const char *source, bool write);
extern void feed_close(Feed *feed);
/* Is there nothing to serve?  Holds no lock, writes nothing. */
extern bool feed_idle(Feed *feed);
/* Hold the target's cursor until the end of the transaction. */
extern void feed_lock(Feed *feed);
/* Store the cursor; once a call, at its end. */
extern void feed_save(Feed *feed);
/* Open the window up to now, if there is anything in it. */
extern bool feed_open_window(Feed *feed);

#endif							/* SYNCEXT_FEED_H */
