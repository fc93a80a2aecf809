/*
 * stored.h
 *	  What a column of a table of ours holds, where SQL's types don't say all of it.
 *
 * The tables can be edited with plain SQL.  What is no object though it should be,
 * or is no version, is told by the table, the column and the row's key, and is never
 * taken for something else.
 */
#ifndef SYNCEXT_STORED_H
#define SYNCEXT_STORED_H

#include "compat.h"
#include "storage/rows.h"

/*
 * A jsonb column of the found row, copied; NULL if it is null and may be.  Raises XX001
 * if it isn't an array.
 */
extern Jsonb *stored_array(const Rows *rows, int column);
/* Whatever it is: its reader looks, or hands it on. */
extern Jsonb *stored_any(const Rows *rows, int column);

/*
 * For callers that have to go on, an object, one all of whose members are row versions,
 * and a version or row version: what is wrong with the column in words, NULL if it is
 * good; *object is NULL then, too, if the column is null and may be.
 */
extern const char *stored_object_problem(const Rows *rows, int column, Jsonb **object);
extern const char *stored_versions_problem(const Rows *rows, int column, Jsonb **object);
extern const char *stored_version_problem(const Rows *rows, int column, int64 *version);

/* In words: the found row's column is as what says. */
extern const char *stored_problem(const Rows *rows, int column, const char *what);
/* Raise XX001 with what stored_problem() says. */
pg_noreturn extern void stored_raise(const Rows *rows, int column, const char *what);
/* Raise XX001: what one of the functions above has said. */
pg_noreturn extern void stored_fail(const Rows *rows, const char *problem);

#endif							/* SYNCEXT_STORED_H */
