/*
 * match_decide.c
 *	  What stewards say of records that may be one.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "hub/merge.h"
#include "hub/resolve.h"
#include "process/args.h"
#include "process/owner.h"
#include "storage/match_candidate.h"

PG_FUNCTION_INFO_V1(sync_match_decide);

static void
find_candidate(MatchCandidates *candidates, Oid function, int64 id, MatchCandidate *candidate)
{
	bool		found = match_candidate_find(candidates, id, candidate);

	resolve_refuse_stranger(function, found ? candidate->entity : NULL, "decide", "candidate", id);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
				 errmsg("candidate " INT64_FORMAT " does not exist", id),
				 errhint("See SELECT * FROM syncext.candidate.")));
}

/*
 * Which of the two stays: one that no source knows by a key of its own, as all know it by
 * its id; else the one that a source has known for longer.
 */
static bool
other_stays(const MatchCandidate *candidate)
{
	const char *first_bound = "SELECT min(k.since) FROM syncext.source_key k WHERE k.entity = %s AND k.external_id = %s";
	const char *entity = quote_literal_cstr(candidate->entity);

	return owner_true("SELECT coalesce((%s), '-infinity') < coalesce((%s), '-infinity')",
					  psprintf(first_bound, entity, quote_literal_cstr(candidate->other_id)),
					  psprintf(first_bound, entity, quote_literal_cstr(candidate->external_id)));
}

pg_noreturn static void
refuse_decided(const MatchCandidate *candidate)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("candidate " INT64_FORMAT " does not wait for a decision any more", candidate->id)));
}

static void
merge_candidate(const MatchCandidate *candidate, const char *note)
{
	bool		other = other_stays(candidate);

	if (strcmp(candidate->status, CANDIDATE_PENDING) != 0)
		refuse_decided(candidate);
	(void) merge_records(candidate->entity, other ? candidate->other_id : candidate->external_id,
						 other ? candidate->external_id : candidate->other_id, note);
}

Datum
sync_match_decide(PG_FUNCTION_ARGS)
{
	char	   *decision = arg_text(fcinfo, 1, "decision");
	MatchCandidates *candidates;
	MatchCandidate candidate;

	arg_refuse_null(fcinfo, 0, "candidate");
	candidates = mapped_open(&match_candidate_def, true);
	find_candidate(candidates, fcinfo->flinfo->fn_oid, PG_GETARG_INT64(0), &candidate);
	if (strcmp(decision, "merge") == 0)
	{
		mapped_close(candidates);
		merge_candidate(&candidate, arg_text_or_null(fcinfo, 2));
		PG_RETURN_VOID();
	}
	if (strcmp(decision, CANDIDATE_DISTINCT) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("decision \"%s\" is not known", decision),
				 errhint("It is distinct or merge.")));
	if (!match_candidate_decide(candidates, &candidate, CANDIDATE_DISTINCT, arg_text_or_null(fcinfo, 2)))
		refuse_decided(&candidate);
	mapped_close(candidates);
	PG_RETURN_VOID();
}
