/*
 * match_candidate.h
 *	  Pairs of records that may be one: table syncext.match_candidate.
 */
#ifndef SYNCEXT_MATCH_CANDIDATE_H
#define SYNCEXT_MATCH_CANDIDATE_H

#include "datatype/timestamp.h"
#include "storage/mapped.h"

#define CANDIDATE_PENDING	"pending"
#define CANDIDATE_DISTINCT	"distinct"

typedef MappedTable MatchCandidates;

typedef struct MatchCandidate
{
	const char *entity;
	const char *external_id;	/* of the two the one that sorts first */
	const char *other_id;
	int64		id;
	const char *rule;
	const char *status;
	TimestampTz since;
	const char *decided_by;
	TimestampTz decided_at;
	const char *note;
} MatchCandidate;

extern const MappedDef match_candidate_def;

/* How many that wait name the record, up to max. */
extern int	match_candidates_waiting(MatchCandidates *candidates, const char *entity,
									 const char *external_id, int max);
/* Add the pair, in either order, unless it is there, decided or not. */
extern bool match_candidate_add(MatchCandidates *candidates, const char *entity, const char *rule,
								const char *one, const char *two);
/*
 * Say of two records, in either order, that they are two, whether or not they were found to
 * be like one another; rule says why they are named together, where they weren't.
 */
extern void match_candidate_part(MatchCandidates *candidates, const char *entity,
								 const char *rule, const char *one, const char *two,
								 const char *note);
/* Remove those that wait and name the record. */
extern void match_candidates_end(MatchCandidates *candidates, const char *entity,
								 const char *external_id);

extern bool match_candidate_find(MatchCandidates *candidates, int64 id, MatchCandidate *candidate);
/* Decide one that waits.  False: another session has decided or removed it. */
extern bool match_candidate_decide(MatchCandidates *candidates, const MatchCandidate *candidate,
								   const char *status, const char *note);

#endif							/* SYNCEXT_MATCH_CANDIDATE_H */
