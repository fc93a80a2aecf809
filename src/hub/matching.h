/*
 * matching.h
 *	  Records that may be one: their keys are kept, and pairs that share one found.
 */
#ifndef SYNCEXT_MATCHING_H
#define SYNCEXT_MATCHING_H

#include "hub/apply_item.h"
#include "storage/canonical.h"
#include "storage/match_key.h"

/* So many that wait at most name a record that looks for others. */
#define MATCH_MAX_CANDIDATES	10
/* A key that more records than this share says nothing. */
#define MATCH_MAX_SHARED		100

/* The open tables, for a call. */
typedef struct Matching Matching;

extern Matching *matching_open(void);
extern void matching_close(Matching *matching);
/* How many candidates were made so far. */
extern int64 matching_made(const Matching *matching);

/* A record was written, and is held: keep its keys, and look for others if they are new. */
extern void matching_track(Matching *matching, const ApplyItem *item, const Record *before,
						   const Record *after);
/* Look for others that share the keys that the record has. */
extern void matching_look(Matching *matching, const Entity *entity, const char *external_id);
/* Make the record's keys what they should be, and look for others.  False: it isn't there. */
extern bool matching_rebuild(Matching *matching, Canonical *canonical, const Entity *entity,
							 const char *external_id);

/*
 * The same for many records in the order of their external ids, all that are behind one:
 * their keys are found by a walk, and those that are new added together, before others are
 * looked for.  Keys that no record and no rule has any more are removed.
 * Begin when the scan has begun that comes to the records; matching_portion_add is for the
 * one that it has just come to.  Raises 23505 where a key was added by another transaction
 * that holds a record only for that.
 */
typedef struct MatchPortion MatchPortion;

extern MatchPortion *matching_portion_begin(Matching *matching, Canonical *canonical,
											const Entity *entity, const char *after);
extern bool matching_portion_add(MatchPortion *portion, const char *external_id);
/* last: no record is behind them. */
extern void matching_portion_end(MatchPortion *portion, bool last);

#endif							/* SYNCEXT_MATCHING_H */
