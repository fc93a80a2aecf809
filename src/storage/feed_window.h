/*
 * feed_window.h
 *	  The change log as a queue: what of it a target is due between two
 *	  snapshots.
 */
#ifndef SYNCEXT_FEED_WINDOW_H
#define SYNCEXT_FEED_WINDOW_H

#include "storage/registry.h"
#include "storage/consumer.h"
#include "storage/tick.h"

/* Place of a row of the change log in the feed's order; zero is before all. */
typedef struct LogPosition
{
	uint64		xid;
	int64		seq;
} LogPosition;

/* A row that is due to the target.  The texts are the log's, until the next. */
typedef struct FeedRow
{
	LogPosition at;
	int			table;			/* of the log */
	const text *entity;
	const text *external_id;
	int64		row_version;
	Audience	audience;
	bool		correction;		/* the target's own change: it lost */
	bool		captured;		/* an edit that was captured for the hub behind its link */
} FeedRow;

typedef struct FeedLog FeedLog;
typedef struct FeedWindow FeedWindow;

extern FeedLog *feed_log_open(void);
extern void feed_log_close(FeedLog *log);

/*
 * Walk the rows that are due to the target's slot, of transactions that ended
 * after lo and before hi, in (xid, seq) order from after a position on.  What
 * lo, hi and target point to must stay.
 */
extern FeedWindow *feed_window_begin(FeedLog *log, const Source *target, Consumer consumer,
									 const FeedSnapshot *lo, const FeedSnapshot *hi,
									 LogPosition after);
extern bool feed_window_next(FeedWindow *window, FeedRow *row);
extern int64 feed_window_walked(const FeedWindow *window);	/* rows looked at */
/* Let it end when it has looked at so many rows; was that before its end? */
extern void feed_window_limit(FeedWindow *window, int64 rows);
extern bool feed_window_cut_short(const FeedWindow *window);
extern void feed_window_end(FeedWindow *window);

/* A row of the log with all that it says, in the current memory context. */
typedef struct LogRow
{
	TimestampTz recorded_at;
	int64		version;
	int64		row_version;
	bool		has_updated_at;
	TimestampTz updated_at;
	char		resolution;
	Audience	audience;
	Jsonb	   *fields;
	Jsonb	   *detail;			/* or NULL */
	const char *problem;		/* why fields and detail can't be used; or NULL */
} LogRow;

/*
 * Read a column of the row that feed_window_next() returned last, in the current memory
 * context.  Returns NULL, or why the value can't be used: then it is set to NULL.
 */
extern const char *feed_window_fields(const FeedWindow *window, Jsonb **fields);
extern const char *feed_window_detail(const FeedWindow *window, Jsonb **detail);	/* or NULL */
/* Was that row's change made on row version 0, of no record that its source had been told of? */
extern bool feed_window_on_none(const FeedWindow *window);

typedef struct FeedSeek FeedSeek;

/* Read rows by where a window had them, all by one snapshot. */
extern FeedSeek *feed_seek_begin(FeedLog *log);
extern bool feed_seek(FeedSeek *seek, int table, LogPosition at, LogRow *row);
extern void feed_seek_end(FeedSeek *seek);

extern int	log_position_cmp(LogPosition a, LogPosition b);
/* Behind every row of a window that ends at hi. */
extern LogPosition log_position_end(const FeedSnapshot *hi);

#endif							/* SYNCEXT_FEED_WINDOW_H */
