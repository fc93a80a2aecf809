/*
 * stat_entries.h
 *	  Counters by their keys.
 */
#ifndef SYNCEXT_STAT_ENTRIES_H
#define SYNCEXT_STAT_ENTRIES_H

#include "datatype/timestamp.h"
#include "utils/palloc.h"

#define STAT_NCOUNTS	4

/* Compared byte by byte: what isn't used is zero. */
typedef struct StatKey
{
	Oid			database;
	char		kind;			/* c: change, t: target, l: link; 0: no key */
	char		what;			/* of a change: how it was decided */
	char		name[NAMEDATALEN];	/* of the source, the target or the link */
	char		entity[NAMEDATALEN];
} StatKey;

typedef struct StatEntry
{
	StatKey		key;
	int64		n[STAT_NCOUNTS];
	TimestampTz last_at;
} StatEntry;

/* Counters of this session's own. */
typedef struct StatEntries
{
	MemoryContext context;		/* NULL: the session's */
	StatEntry  *entry;			/* NULL: none yet; some have no key */
	int			room;
	int			n;				/* that have one */
} StatEntries;

extern StatKey stat_key(char kind, char what, const char *name, const char *entity);
/*
 * Find the entry of a key in an array of so many, or else the one without a key that
 * it would have; NULL: there is no room.
 */
extern StatEntry *stat_search(StatEntry *entries, int room, const StatKey *key);
/* Add one entry's counts to another's. */
extern void stat_add(StatEntry *to, const StatEntry *from);

/*
 * Find or make the entry of a key.  Raises nothing: NULL where there is no memory for it,
 * and then it isn't counted.
 */
extern StatEntry *stat_entries_get(StatEntries *list, const StatKey *key);
/* Add an entry's counts to its key's, if it has one and there is memory for that. */
extern void stat_entries_add(StatEntries *list, const StatEntry *entry);
/* Add all that is in the one list to the other, and empty it. */
extern void stat_entries_move(StatEntries *to, StatEntries *from);
extern void stat_entries_clear(StatEntries *list);

#endif							/* SYNCEXT_STAT_ENTRIES_H */
