/*
 * called_function.h
 *	  Functions of the database's that a row of the configuration names.
 */
#ifndef SYNCEXT_CALLED_FUNCTION_H
#define SYNCEXT_CALLED_FUNCTION_H

#define CALLED_MAX_ARGS	3

typedef struct CalledFunction
{
	const char *name;			/* with its schema */
	const char *written_by;		/* the role that wrote the row, which must be allowed to */
	int			nargs;			/* each jsonb */
	Oid			result;			/* its type, jsonb or text */
	bool		immutable;		/* it has to be */
} CalledFunction;

/*
 * Call it.  It can do nothing but look and answer: it runs as its owner, restricted,
 * reads only, and what it leaves is taken back.  Returns what it did, palloc'd; NULL: null,
 * or *failed tells why it wasn't called, or its error.  Errors of the server's own are raised.
 */
extern void *called_function_run(const CalledFunction *function, const Datum *args,
										   char **failed);

#endif							/* SYNCEXT_CALLED_FUNCTION_H */
