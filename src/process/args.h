/*
 * args.h
 *	  The arguments of SQL functions.
 */
#ifndef SYNCEXT_ARGS_H
#define SYNCEXT_ARGS_H

#include "fmgr.h"
#include "utils/jsonb.h"

/* Raise 22004 if argument n is null; name is what the function's caller calls it. */
extern void arg_refuse_null(FunctionCallInfo fcinfo, int n, const char *name);

/* Argument n, which must not be null; text in the current memory context. */
extern char *arg_text(FunctionCallInfo fcinfo, int n, const char *name);
extern int32 arg_int(FunctionCallInfo fcinfo, int n, const char *name);
extern bool arg_bool(FunctionCallInfo fcinfo, int n, const char *name);
extern Jsonb *arg_jsonb(FunctionCallInfo fcinfo, int n, const char *name);
/* Argument n, a relation's OID; nothing tells that there is such a relation. */
extern Oid	arg_relation(FunctionCallInfo fcinfo, int n);

extern char *arg_text_or_null(FunctionCallInfo fcinfo, int n);
extern Jsonb *arg_jsonb_or_null(FunctionCallInfo fcinfo, int n);

#endif							/* SYNCEXT_ARGS_H */
