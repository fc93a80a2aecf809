/*
 * match_key.h
 *	  The keys by which match rules find records: tables syncext.match_key and
 *	  syncext.match_due.
 */
#ifndef SYNCEXT_MATCH_KEY_H
#define SYNCEXT_MATCH_KEY_H

#include "storage/mapped.h"

typedef struct MatchKeys MatchKeys;

typedef struct MatchKey
{
	const char *entity;
	const char *external_id;
	const char *rule;
	const char *key;
} MatchKey;

extern MatchKeys *match_keys_open(bool write);
extern void match_keys_close(MatchKeys *keys);

/* Find the key that the record has by the rule; key->key is it then. */
extern bool match_key_find(MatchKeys *keys, MatchKey *key);
/* All that the record has, a list of MatchKey. */
extern List *match_keys_of(MatchKeys *keys, const char *entity, const char *external_id);
/* Up to max external ids of other records that share the key, a list of char *. */
extern List *match_keys_sharing(MatchKeys *keys, const MatchKey *key, int max);

/*
 * Walk the keys of an entity's records behind one, by one snapshot, in the order of their
 * external ids: which has a record, that behind those that were asked for before?  A list of
 * MatchKey.  Those of records that were not asked for, up to the last or all that are left,
 * are returned in the end.
 */
typedef struct MatchKeyWalk MatchKeyWalk;

extern MatchKeyWalk *match_key_walk_begin(MatchKeys *keys, const char *entity, const char *after);
extern List *match_key_walk(MatchKeyWalk *walk, const char *external_id);
extern List *match_key_walk_end(MatchKeyWalk *walk, bool all);

/* Who writes a record's keys holds the record. */
extern void match_key_save(MatchKeys *keys, const MatchKey *key);
/* Like match_key_save(), for a record that most likely has none. */
extern void match_key_add(MatchKeys *keys, const MatchKey *key);
/*
 * Add a key of a record that has none by that rule; it is there when the keys are flushed, or
 * closed, which raises 23505 if another was added meanwhile.
 */
extern void match_key_add_later(MatchKeys *keys, const MatchKey *key);
extern void match_keys_flush(MatchKeys *keys);
extern bool match_key_remove(MatchKeys *keys, const MatchKey *key);
/* The record's keys are to be looked at again when this transaction has ended. */
extern void match_due_add(MatchKeys *keys, const char *entity, const char *external_id);

#endif							/* SYNCEXT_MATCH_KEY_H */
