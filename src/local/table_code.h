/*
 * table_code.h
 *	  Running the code of attached relations (triggers, defaults, constraints,
 *	  views) as their owner.
 *
 * For every caller such code runs in an operation that is security-restricted: it may do what
 * the owner may, and leaves nothing behind that runs later as the caller.  search_path
 * is that of a session of the owner, and the temporary objects of this session are out
 * of reach.
 */
#ifndef SYNCEXT_TABLE_CODE_H
#define SYNCEXT_TABLE_CODE_H

#include "utils/elog.h"
#include "utils/rel.h"

typedef enum TableCodeMode
{
	TABLE_CODE_RESTRICTED,		/* a constraint that would be deferred is an error; see
								 * table_code_needs_deferring() */
	TABLE_CODE_DEFERRING,		/* deferrable constraints are checked at the end: the
								 * caller has called constraints_defer() */
	TABLE_CODE_LOOKUP			/* rows are found by their key, in the middle of
								 * a statement of any role */
} TableCodeMode;

typedef struct TableCode
{
	Oid			owner;
	TableCodeMode mode;
	Oid			user;			/* the caller's role */
	int			security;
	int			nest_level;
} TableCode;

/* Once, when the library is loaded. */
extern void table_code_init(void);

/* Become the owner, until table_code_leave() or the end of the (sub)transaction. */
extern void table_code_enter(TableCode *code, Oid owner, TableCodeMode mode);
/* Check what was deferred, and be the caller again. */
extern void table_code_leave(TableCode *code);

/* Is code of users only run where the relation is written, not where rows are read or made? */
extern bool table_code_reads_quietly(Relation rel);

/* Did a section that was restricted fail for no other reason than that? */
extern bool table_code_needs_deferring(const ErrorData *error);

/* Did a statement of a procedural language choose the error, whatever its SQLSTATE is? */
extern bool table_code_raised(const ErrorData *error);

#endif							/* SYNCEXT_TABLE_CODE_H */
