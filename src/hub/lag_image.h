/*
 * lag_image.h
 *	  What it takes to count how far all targets are behind, in memory.
 *
 * Names are numbers here, so that a target can be held against the whole log
 * in a few milliseconds.
 */
#ifndef SYNCEXT_LAG_IMAGE_H
#define SYNCEXT_LAG_IMAGE_H

#include "datatype/timestamp.h"
#include "storage/feed_window.h"

/* A row of the change log. */
typedef struct LagRow
{
	LogPosition at;
	TimestampTz recorded_at;
	int			record;			/* number */
	int			source;
	int			entity;
	char		told;
} LagRow;

/* A cursor with its window. */
typedef struct LagCursor
{
	Slot		slot;
	FeedSnapshot lo;
	bool		has_window;
	FeedSnapshot hi;			/* where it has a window */
	LogPosition at;
	int64		batch;
	bool		leased;
	char	   *backfill_name;	/* of the entity under way; NULL: no backfill */
	int			backfill_entity;
	char	   *backfill_id;	/* NULL: at its start */
	int64		backfill_from;	/* the first golden record after it, of any entity */
	int			nrest;
	int		   *rest;			/* the entities after it */
} LagCursor;

/* A delivery that failed. */
typedef struct LagPending
{
	int			record;
	TimestampTz since;
	bool		dead;
	int64		batch;			/* 0: none */
} LagPending;

typedef struct LagTarget
{
	const char *name;
	int			number;			/* as a LagRow's source */
	int			nentities;		/* of the subscription; -1: every one */
	int		   *entities;
	int			ncursors;
	LagCursor  *cursors;
	int			npending;
	LagPending *pending;
} LagTarget;

/* A golden record; record -1 stands in neither the log nor pending. */
typedef struct LagGolden
{
	int			record;
	uint64		hash;			/* of its name, for slots */
} LagGolden;

typedef struct LagEntity
{
	int64		first;			/* its golden records, up to before end */
	int64		end;
} LagEntity;

typedef struct LagImage
{
	int			ntargets;
	LagTarget  *targets;		/* sources that have a cursor or something pending */
	int64		nrows;
	LagRow	   *rows;			/* of all that any target may be due, in order */
	int			nrecords;
	uint64	   *hashes;			/* by record */
	int64		ngolden;
	LagGolden  *golden;			/* by entity and external id; for backfills alone */
	int			nentities;
	LagEntity  *entities;
} LagImage;

/*
 * Read it by the active snapshot, as the tables' owner, into the current
 * memory context.
 */
extern LagImage *lag_image_read(void);

#endif							/* SYNCEXT_LAG_IMAGE_H */
