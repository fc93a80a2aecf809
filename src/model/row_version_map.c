/*
 * row_version_map.c
 *	  Row versions that a record really had, and those that a replay of its changes gave it.
 *
 * As long as both make the same decisions their row versions rise together: a run of them
 * is one entry, however long.
 */
#include "postgres.h"

#include "model/row_version_map.h"

/* No more runs are kept than these, so that a record of many changes has room. */
#define MAX_RUNS	65536

typedef struct RowVersionRun
{
	int64		first;			/* from this row version on ... */
	int64		ahead;			/* ... the replay's is so much higher */
} RowVersionRun;

static void
make_room(RowVersionMap *map)
{
	if (map->n == MAX_RUNS)
	{
		map->n = MAX_RUNS / 2;
		memmove(map->runs, map->runs + MAX_RUNS / 2, sizeof(RowVersionRun) * map->n);
		map->forgot = true;
	}
	if (map->n < map->room)
		return;
	map->room = Max(8, map->room * 2);
	map->runs = map->runs == NULL ? palloc(sizeof(RowVersionRun) * map->room) :
		repalloc(map->runs, sizeof(RowVersionRun) * map->room);
}

void
row_version_map_add(RowVersionMap *map, int64 row_version, int64 replayed)
{
	if (map->n > 0 && map->runs[map->n - 1].ahead == replayed - row_version)
		return;
	make_room(map);
	map->runs[map->n].first = row_version;
	map->runs[map->n++].ahead = replayed - row_version;
}

bool
row_version_map_find(const RowVersionMap *map, int64 row_version, int64 *replayed)
{
	int			low = 0;
	int			high = map->n;

	/* the first run that begins above it */
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (map->runs[middle].first <= row_version)
			low = middle + 1;
		else
			high = middle;
	}
	/* what is older than the record is older than the replayed one */
	*replayed = low == 0 ? row_version : Max(row_version + map->runs[low - 1].ahead, 0);
	return low > 0 || !map->forgot;
}
