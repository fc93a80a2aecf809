/*
 * resolve.h
 *	  Deciding conflicts that wait for review.
 */
#ifndef SYNCEXT_RESOLVE_H
#define SYNCEXT_RESOLVE_H

#include "compat.h"
#include "hub/apply_item.h"
#include "storage/conflict_log.h"

typedef enum Verdict
{
	VERDICT_INCOMING,
	VERDICT_CANONICAL,
	VERDICT_MERGE,
	VERDICT_DISMISS,
	VERDICT_LADDER				/* decide again, by today's ranks and rules */
} Verdict;

typedef enum ResolveOutcome
{
	RESOLVE_DONE,
	RESOLVE_CLOSED,				/* it isn't pending any more */
	RESOLVE_UNDECIDED,			/* the ladder decides nothing: it stays pending */
	RESOLVE_REFUSED,			/* other records keep this one from being deleted */
	RESOLVE_MOVED				/* for resolve.c alone: the record has changed meanwhile */
} ResolveOutcome;

/* Conflicts being decided: a call with its open tables. */
typedef struct Resolve Resolve;

extern Verdict verdict_by_name(const char *name);	/* raises */
/* Does it leave the record as it is? */
extern bool verdict_stands(Verdict verdict);
/*
 * Decide the conflict on the record by a verdict that doesn't let it stand, and write nothing:
 * the change that it amounts to, and what comes of it.  fields are those of a merge.  By
 * the ladder it may come to MANUAL again.
 */
extern void verdict_decide(ApplyCall *call, const char *verdict, Jsonb *fields,
						   const Conflict *conflict, const Record *record, Change *change,
						   Decision *d);
extern Resolve *resolve_begin(const char *decision, const char *note);
extern ResolveOutcome resolve_pending(Resolve *r, int64 id, Answer *answer, const char **why);
extern void resolve_end(Resolve *r);

/*
 * May the user decide conflicts of the entity: as a steward, or as EXECUTE on the function
 * (an OID) was granted to it by name, not to PUBLIC?
 */
extern bool resolve_may_decide(Oid function, const char *entity);
/* Raise 42501 unless that is so, or that there is no such entity. */
extern void resolve_check_steward(Oid function, const char *entity, const char *what);
/*
 * Raise 42501 if the user may not decide what is of that entity.  Who may not decide all
 * isn't told what there is: what isn't there (entity NULL) looks like what is of others.
 */
extern void resolve_refuse_stranger(Oid function, const char *entity, const char *what,
									const char *kind, int64 id);
/*
 * Find a conflict, and raise 42501 if the user may not decide it; 42704 if there is none.
 */
extern void resolve_find(ConflictLog *conflicts, Oid function, int64 id, Conflict *conflict);
pg_noreturn extern void resolve_refuse_closed(int64 id, const char *status);

#endif							/* SYNCEXT_RESOLVE_H */
