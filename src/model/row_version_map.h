/*
 * row_version_map.h
 *	  Row versions that a record really had, and those that a replay of its changes gave it
 *	  in their place, as it has made other decisions.
 */
#ifndef SYNCEXT_ROW_VERSION_MAP_H
#define SYNCEXT_ROW_VERSION_MAP_H

typedef struct RowVersionMap
{
	int			n;
	int			room;
	struct RowVersionRun *runs; /* by first */
	bool		forgot;			/* the oldest runs are gone: they were too many */
} RowVersionMap;

/*
 * The record has come to a row version, of which the replay has made another one.  Row
 * versions come in rising order.
 */
extern void row_version_map_add(RowVersionMap *map, int64 row_version, int64 replayed);
/*
 * What a row version that something was made on is in the replay: what the replay had when
 * the record first came to it.  Returns false if that is no longer known.
 */
extern bool row_version_map_find(const RowVersionMap *map, int64 row_version, int64 *replayed);

#endif							/* SYNCEXT_ROW_VERSION_MAP_H */
