/*
 * owner.h
 *	  Working on syncext's own tables with SQL statements, as their owner.
 */
#ifndef SYNCEXT_OWNER_H
#define SYNCEXT_OWNER_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* What the session was before. */
typedef struct OwnerContext
{
	Oid			user;
	int			security;
	int			nest_level;
} OwnerContext;

/*
 * Switch to the owner of our tables, with search_path pinned and, if lock_timeout
 * > 0, that lock_timeout, until owner_leave() or the end of the (sub)transaction.
 * The functions below do so themselves, for the one statement.
 */
extern void owner_enter(OwnerContext *as_owner, int lock_timeout);
extern void owner_leave(OwnerContext *as_owner);

/* Run a statement; returns how many rows it was about. */
extern uint64 owner_execute(const char *format,...) pg_attribute_printf(1, 2);
/*
 * The first column of a query's first row, palloc'd: NULL, 0 or false if it is null or
 * there is no row; owner_texts: of all rows, but for nulls.
 */
extern char *owner_text(const char *format,...) pg_attribute_printf(1, 2);
extern int64 owner_number(const char *format,...) pg_attribute_printf(1, 2);
extern bool owner_true(const char *format,...) pg_attribute_printf(1, 2);
/* Of a query that has a timestamptz for its one column; 0, too, if that is infinite. */
extern TimestampTz owner_time(const char *format,...) pg_attribute_printf(1, 2);
extern List *owner_texts(const char *format,...) pg_attribute_printf(1, 2);

#endif							/* SYNCEXT_OWNER_H */
