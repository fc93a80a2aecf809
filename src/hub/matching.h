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

#endif							/* SYNCEXT_MATCHING_H */
