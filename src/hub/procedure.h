/*
 * procedure.h
 *	  What procedures that commit between their steps have in common.
 */
#ifndef SYNCEXT_PROCEDURE_H
#define SYNCEXT_PROCEDURE_H

#include "fmgr.h"
#include "utils/elog.h"
#include "utils/jsonb.h"

/* Is the procedure called where it can't commit? */
extern bool procedure_is_atomic(FunctionCallInfo fcinfo);
/* Refuse that, and say why the procedure has to commit. */
extern void procedure_refuse_atomic(FunctionCallInfo fcinfo, const char *name, const char *why);

/* The procedure's INOUT argument as it returns it. */
extern Datum procedure_result(FunctionCallInfo fcinfo, Jsonb *result);

/*
 * Call function(arg) in a subtransaction and in the memory context work.  Returns
 * its error, in the context keep, or NULL: then it is done.
 */
extern ErrorData *procedure_try(MemoryContext work, MemoryContext keep,
								void (*function) (void *arg), void *arg);

#endif							/* SYNCEXT_PROCEDURE_H */
