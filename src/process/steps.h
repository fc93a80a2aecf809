/*
 * steps.h
 *	  What procedures that commit between their steps have in common.
 */
#ifndef SYNCEXT_STEPS_H
#define SYNCEXT_STEPS_H

#include "fmgr.h"
#include "utils/jsonb.h"

/* Is the procedure called where it can't commit? */
extern bool steps_is_atomic(FunctionCallInfo fcinfo);
/* Refuse that, and say why the procedure has to commit. */
extern void steps_refuse_atomic(FunctionCallInfo fcinfo, const char *name, const char *why);

/*
 * Commit what the procedure has done, and go on in a new transaction, with the
 * snapshot that its next statement needs.
 */
extern void steps_commit(void);

/* The procedure's INOUT argument as it returns it; of another type than jsonb. */
extern Datum steps_result(FunctionCallInfo fcinfo, Jsonb *result);
extern Datum steps_row(FunctionCallInfo fcinfo, Datum value);

#endif							/* SYNCEXT_STEPS_H */
