/*
 * match_decide.c
 *	  What stewards say of records that may be one.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "hub/resolve.h"
#include "process/args.h"
#include "storage/hints.h"
#include "storage/match_candidate.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_match_decide);

/* Who may not decide all candidates isn't told which there are. */
static void
find_candidate(MatchCandidates *candidates, Oid function, int64 id, MatchCandidate *candidate)
{
	bool		found = match_candidate_find(candidates, id, candidate);

	if (!resolve_may_decide(function, found ? candidate->entity : "*"))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to decide candidate " INT64_FORMAT, id),
				 errdetail("Or there is no such candidate."),
				 errhint_call("Ask the owner of the extension: SELECT sync_grant(%s, 'steward', …).",
							  quote_literal_cstr(GetUserNameFromId(GetUserId(), false)))));
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
				 errmsg("candidate " INT64_FORMAT " does not exist", id),
				 errhint("See SELECT * FROM syncext.candidate.")));
}

pg_noreturn static void
refuse_merge(const MatchCandidate *candidate)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("records \"%s\" and \"%s\" of entity \"%s\" cannot be merged by a call",
					candidate->external_id, candidate->other_id, candidate->entity),
			 errhint_call("Give the keys of the one that goes to the other, and delete it: for each of its sources SELECT sync_unbind(source, %s, source_id), sync_bind(source, %s, source_id, external_id); then a document of its externalId with \"deleted\": true. That ends the candidate.",
						  quote_literal_cstr(candidate->entity), quote_literal_cstr(candidate->entity))));
}

pg_noreturn static void
refuse_decided(const MatchCandidate *candidate)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("candidate " INT64_FORMAT " does not wait for a decision any more", candidate->id)));
}

Datum
sync_match_decide(PG_FUNCTION_ARGS)
{
	char	   *decision = arg_text(fcinfo, 1, "decision");
	MatchCandidates *candidates;
	MatchCandidate candidate;

	arg_refuse_null(fcinfo, 0, "candidate");
	candidates = match_candidates_open(true);
	find_candidate(candidates, fcinfo->flinfo->fn_oid, PG_GETARG_INT64(0), &candidate);
	if (strcmp(decision, "merge") == 0)
		refuse_merge(&candidate);
	if (strcmp(decision, CANDIDATE_DISTINCT) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("decision \"%s\" is not known", decision),
				 errhint("It is distinct or merge.")));
	if (!match_candidate_decide(candidates, &candidate, CANDIDATE_DISTINCT, arg_text_or_null(fcinfo, 2)))
		refuse_decided(&candidate);
	match_candidates_close(candidates);
	PG_RETURN_VOID();
}
