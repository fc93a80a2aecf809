/*
 * stat.h
 *	  Counters: what has become of changes, of deliveries, and what links have sent.
 */
#ifndef SYNCEXT_STAT_H
#define SYNCEXT_STAT_H

#include "process/stat_entries.h"

/* What of a target is counted. */
typedef enum StatTarget
{
	STAT_DELIVERED,
	STAT_FAILED,
	STAT_DEAD,
	STAT_REDRIVEN
} StatTarget;

/* What of a link is counted; the time in microseconds. */
typedef enum StatLink
{
	STAT_BATCHES,
	STAT_BYTES,
	STAT_ROUND_TRIPS,
	STAT_WAITED
} StatLink;

/* Beside the codes of resolutions. */
#define STAT_REFUSED	'R'		/* 400: counted though the transaction fails */
#define STAT_RELEASED	'L'		/* a parked change that was applied after all */

/*
 * Count, cheaply: what a transaction has done counts when it commits, and takes no lock
 * on a row and writes no WAL of its own.
 */
extern void stat_change(const char *source, const char *entity, char resolution,
						int64 fields_changed, int64 fields_lost);
extern void stat_target(const char *target, StatTarget what, int64 n);
extern void stat_link(const char *link, StatLink what, int64 n);

/*
 * Attach to the counters' shared memory, if that can be; returns whether it is attached.
 * Otherwise a session does so when the first of its transactions that has counted something
 * commits.  Whoever takes much memory before that calls this first.
 */
extern bool stat_attach(void);
/* For those who read: what this session has yet to write. */
extern const StatEntries *stat_unwritten(void);
/* Forget what this session has counted. */
extern void stat_forget(void);

/* For _PG_init. */
extern void stat_init(void);

#endif							/* SYNCEXT_STAT_H */
