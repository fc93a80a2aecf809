/*
 * match_candidate.c
 *	  Pairs of records that may be one: table syncext.match_candidate.
 */
#include "postgres.h"

#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "storage/match_candidate.h"
#include "storage/relations.h"

#define OTHER_INDEX	"match_candidate_other"
#define ID_INDEX	"match_candidate_id"

#define DECIDED \
	(MAP_COLUMN(COL_MATCH_CANDIDATE_STATUS) | MAP_COLUMN(COL_MATCH_CANDIDATE_DECIDED_BY) | \
	 MAP_COLUMN(COL_MATCH_CANDIDATE_DECIDED_AT) | MAP_COLUMN(COL_MATCH_CANDIDATE_NOTE))

/* A pair that a REPEATABLE READ transaction can't see is there nevertheless. */
const MappedDef match_candidate_def = {
	.relation = "match_candidate",
	.latest = true,
	.column = {
		[COL_MATCH_CANDIDATE_ENTITY] = {MAP_TEXT, offsetof(MatchCandidate, entity)},
		[COL_MATCH_CANDIDATE_EXTERNAL_ID] = {MAP_TEXT, offsetof(MatchCandidate, external_id)},
		[COL_MATCH_CANDIDATE_OTHER_ID] = {MAP_TEXT, offsetof(MatchCandidate, other_id)},
		[COL_MATCH_CANDIDATE_ID] = {MAP_INT8, offsetof(MatchCandidate, id)},
		[COL_MATCH_CANDIDATE_RULE] = {MAP_TEXT, offsetof(MatchCandidate, rule)},
		[COL_MATCH_CANDIDATE_STATUS] = {MAP_TEXT, offsetof(MatchCandidate, status)},
		[COL_MATCH_CANDIDATE_SINCE] = {MAP_TIME, offsetof(MatchCandidate, since)},
		[COL_MATCH_CANDIDATE_DECIDED_BY] = {MAP_TEXT, offsetof(MatchCandidate, decided_by)},
		[COL_MATCH_CANDIDATE_DECIDED_AT] = {MAP_TIME, offsetof(MatchCandidate, decided_at)},
		[COL_MATCH_CANDIDATE_NOTE] = {MAP_TEXT, offsetof(MatchCandidate, note)},
	}
};

/* ---------- finding ---------- */

static bool
is_pending(const MatchCandidate *candidate)
{
	return strcmp(candidate->status, CANDIDATE_PENDING) == 0;
}

/* Those that wait and have the record on one side, up to max, added to a list. */
static List *
waiting_by(MatchCandidates *candidates, const char *index, const char *entity,
		   const char *external_id, int max, List *found)
{
	const MatchCandidate asked = {
		.entity = entity,
		.external_id = external_id,
		.other_id = external_id
	};
	RowsScan   *scan = mapped_scan(candidates, index, 2, 0, &asked);

	while ((max == 0 || list_length(found) < max) && rows_scan_next(scan))
	{
		MatchCandidate *candidate = mapped_copy(candidates, sizeof(MatchCandidate));

		if (is_pending(candidate))
			found = lappend(found, candidate);
	}
	rows_scan_end(scan);
	return found;
}

static List *
waiting(MatchCandidates *candidates, const char *entity, const char *external_id, int max)
{
	List	   *found = waiting_by(candidates, NULL, entity, external_id, max, NIL);

	return waiting_by(candidates, OTHER_INDEX, entity, external_id, max, found);
}

int
match_candidates_waiting(MatchCandidates *candidates, const char *entity,
						 const char *external_id, int max)
{
	return list_length(waiting(candidates, entity, external_id, max));
}

bool
match_candidate_find(MatchCandidates *candidates, int64 id, MatchCandidate *candidate)
{
	const MatchCandidate asked = {.id = id};
	RowsScan   *scan = mapped_scan(candidates, ID_INDEX, 1, 0, &asked);
	bool		found = rows_scan_next(scan);

	if (found)
		mapped_read(candidates, candidate);
	rows_scan_end(scan);
	return found;
}

/* ---------- writing ---------- */

static MatchCandidate
make_pair(const char *entity, const char *rule, const char *one, const char *two)
{
	const bool	in_order = strcmp(one, two) < 0;
	const MatchCandidate pair = {
		.entity = entity,
		.external_id = in_order ? one : two,
		.other_id = in_order ? two : one,
		.rule = rule,
		.status = CANDIDATE_PENDING,
		.since = GetCurrentTimestamp()
	};

	return pair;
}

bool
match_candidate_add(MatchCandidates *candidates, const char *entity, const char *rule,
					const char *one, const char *two)
{
	MatchCandidate row = make_pair(entity, rule, one, two);

	if (mapped_seek(candidates, 3, &row))
		return false;
	row.id = nextval_internal(registry_relation("match_candidate_id_seq"), false);
	return mapped_insert_new(candidates, &row);
}

void
match_candidates_end(MatchCandidates *candidates, const char *entity, const char *external_id)
{
	ListCell   *lc;

	foreach(lc, waiting(candidates, entity, external_id, 0))
	{
		MatchCandidate found = *(const MatchCandidate *) lfirst(lc);

		while (mapped_find(candidates, &found) && is_pending(&found) &&
			   rows_delete(candidates->rows) != ROWS_DONE)
			CHECK_FOR_INTERRUPTS();
	}
}

static void
note_decision(MatchCandidate *candidate, const char *status, const char *note)
{
	candidate->status = status;
	candidate->decided_by = GetUserNameFromId(GetUserId(), false);
	candidate->decided_at = GetCurrentTimestamp();
	candidate->note = note;
}

bool
match_candidate_decide(MatchCandidates *candidates, const MatchCandidate *candidate,
					   const char *status, const char *note)
{
	MatchCandidate found = *candidate;

	while (mapped_find(candidates, &found) && is_pending(&found) && found.id == candidate->id)
	{
		note_decision(&found, status, note);
		if (mapped_update(candidates, DECIDED, &found) == ROWS_DONE)
			return true;
	}
	return false;
}

void
match_candidate_part(MatchCandidates *candidates, const char *entity, const char *rule,
					 const char *one, const char *two, const char *note)
{
	MatchCandidate row = make_pair(entity, rule, one, two);

	for (;;)
	{
		MatchCandidate found = row;

		CHECK_FOR_INTERRUPTS();
		if (!mapped_find(candidates, &found))
			(void) match_candidate_add(candidates, entity, rule, one, two);
		else
		{
			note_decision(&found, CANDIDATE_DISTINCT, note);
			if (mapped_update(candidates, DECIDED, &found) == ROWS_DONE)
				return;
		}
	}
}
