/*
 * capture_scope.h
 *	  What the capture triggers of one statement share.
 */
#ifndef SYNCEXT_CAPTURE_SCOPE_H
#define SYNCEXT_CAPTURE_SCOPE_H

#include "hub/apply_call.h"
#include "nodes/pg_list.h"
#include "storage/registry.h"
#include "storage/replica.h"

/* The hub's tables, open for edits. */
typedef struct CaptureTables
{
	ApplyCall  *call;
	Replica    *replica;
} CaptureTables;

typedef struct CaptureScope
{
	MemoryContext statement;	/* the statement's own; the scope goes with it */
	const Registry *registry;	/* as of now */
	List	   *moved;			/* of MovedRow *: capture.c's */

	/* kept open from row to row: capture_scope.c's */
	MemoryContext context;		/* of the tables; NULL: they can't be kept */
	CaptureTables tables;		/* call is NULL: they aren't open */
	const Registry *opened_by;
	SubTransactionId opened_in;
	uint64		brackets;
	int			nuses;

	MemoryContextCallback callback;
	struct CaptureScope *outer; /* of the statement whose trigger ran this one */
} CaptureScope;

/* Find or make the scope of the statement whose trigger is running. */
extern CaptureScope *capture_scope_get(void);

/*
 * Open the tables for one edit, and close them afterwards: that applies what the edit
 * has set off.  Where it has set off nothing they stay open for the statement's next
 * row, unless alone is true: then they are this edit's, which may be rolled back, or
 * after which code runs that looks for it: rows of the log are written when it is closed.
 */
extern CaptureTables capture_scope_open(CaptureScope *scope, bool alone);
extern void capture_scope_close(CaptureScope *scope, CaptureTables tables);

/* Write what the statement's rows have logged so far, before code of others runs. */
extern void capture_scope_flush(CaptureScope *scope);

/* For _PG_init. */
extern void capture_scope_init(void);

#endif							/* SYNCEXT_CAPTURE_SCOPE_H */
