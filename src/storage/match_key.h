/*
 * match_key.h
 *	  The keys by which match rules find records: tables syncext.match_key and
 *	  syncext.match_due.
 */
#ifndef SYNCEXT_MATCH_KEY_H
#define SYNCEXT_MATCH_KEY_H

#include "storage/mapped.h"

typedef MappedTable MatchKeys;

typedef struct MatchKey
{
	const char *entity;
	const char *external_id;
	const char *rule;
	const char *key;
} MatchKey;

extern const MappedDef match_key_def;

/* All that the record has, a list of MatchKey. */
extern List *match_keys_of(MatchKeys *keys, const char *entity, const char *external_id);
/*
 * Up to max external ids of other records that share the key, a list of char *: of those that
 * count; counts NULL: of all.
 */
typedef bool (*MatchCounts) (void *arg, const char *external_id);
extern List *match_keys_sharing(MatchKeys *keys, const MatchKey *key, int max,
								MatchCounts counts, void *arg);

/*
 * Walk the keys (lists of MatchKey) of an entity's records behind one, by one snapshot.
 * match_key_walk() returns a record's; ask for records in the order of their external ids.
 * match_key_walk_end() returns those of records that were not asked for: up to the last one
 * that was, or with all of all that are left, too.
 */
typedef struct MatchKeyWalk MatchKeyWalk;

extern MatchKeyWalk *match_key_walk_begin(MatchKeys *keys, const char *entity, const char *after);
extern List *match_key_walk(MatchKeyWalk *walk, const char *external_id);
extern List *match_key_walk_end(MatchKeyWalk *walk, bool all);

/* Like mapped_save(), for a record that most likely has none.  Who writes one's keys holds it. */
extern void match_key_add(MatchKeys *keys, const MatchKey *key);
/* The record's keys are to be looked at again when this transaction has ended. */
extern Rows *match_due_open(void);
extern void match_due_add(Rows *due, const char *entity, const char *external_id);

#endif							/* SYNCEXT_MATCH_KEY_H */
