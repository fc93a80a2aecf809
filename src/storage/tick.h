/*
 * tick.h
 *	  Snapshots that the change feed is cut by, and their table syncext.tick.
 *
 * A FeedSnapshot is what pg_snapshot is in SQL: which top-level transactions
 * had ended when it was taken.  Of two snapshots the later one sees all that
 * the earlier one sees, so they are in order, and the changes that lie between
 * two of them are a window of the feed.
 *
 * Here, unlike in pg_current_snapshot(), a snapshot does not see the
 * transaction that takes it: what that one writes later, in the same
 * transaction, comes in a later window.
 */
#ifndef SYNCEXT_TICK_H
#define SYNCEXT_TICK_H

#include "datatype/timestamp.h"

typedef struct FeedSnapshot
{
	uint64		xmin;			/* every transaction before it has ended */
	uint64		xmax;			/* none from it on has */
	int			nxip;
	uint64	   *xip;			/* those in between that haven't, sorted */
} FeedSnapshot;

typedef struct Tick
{
	int64		id;
	TimestampTz taken_at;
	FeedSnapshot snapshot;
} Tick;

extern void feed_snapshot_now(FeedSnapshot *snapshot);
extern bool feed_snapshot_sees(const FeedSnapshot *snapshot, uint64 xid);
/* Is it as late as the other one, or later? */
extern bool feed_snapshot_reaches(const FeedSnapshot *snapshot, const FeedSnapshot *other);

extern bool tick_find(int64 id, Tick *tick);
extern bool tick_newest(Tick *tick);
extern void tick_take(Tick *tick);

#endif							/* SYNCEXT_TICK_H */
