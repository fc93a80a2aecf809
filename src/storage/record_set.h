/*
 * record_set.h
 *	  A set of records by (entity, external id), each with a number, a flag and a place
 *	  in the log.
 */
#ifndef SYNCEXT_RECORD_SET_H
#define SYNCEXT_RECORD_SET_H

#include "lib/stringinfo.h"
#include "utils/palloc.h"

#include "storage/feed_window.h"

typedef struct RecordSet RecordSet;

typedef struct RecordSetKey
{
	const char *data;			/* entity, a zero byte, external id */
	uint32		len;
	uint32		hash;
} RecordSetKey;

typedef struct RecordSetEntry
{
	RecordSetKey key;
	char		status;			/* the hash table's own */
	bool		flag;			/* the caller's, false at first */
	int			number;			/* the caller's, 0 at first */
	LogPosition at;				/* the caller's, before all at first */
} RecordSetEntry;

/* The set lives in a memory context of its own, a child of parent, and grows. */
extern RecordSet *record_set_create(MemoryContext parent, int expected);
extern void record_set_free(RecordSet *set);
extern uint32 record_set_size(const RecordSet *set);

/* A record's key, held in the buffer until it is used for the next one. */
extern RecordSetKey record_set_key(StringInfo buffer, const text *entity,
								   const text *external_id);
/* Find, or find or add.  An entry stays where it is until the next addition. */
extern RecordSetEntry *record_set_find(RecordSet *set, RecordSetKey key);	/* or NULL */
/* Find it by its names: for one lookup now and then. */
extern RecordSetEntry *record_set_find_named(RecordSet *set, const char *entity,
											 const char *external_id);
extern RecordSetEntry *record_set_add(RecordSet *set, RecordSetKey key);
extern RecordSetEntry *record_set_add_named(RecordSet *set, const char *entity,
											const char *external_id);

#endif							/* SYNCEXT_RECORD_SET_H */
