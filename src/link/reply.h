/*
 * reply.h
 *	  What the other side of a link has answered to a call: input, that is
 *	  checked before it is used.
 *
 * The other side may be of another version, may have functions that its users have
 * replaced, or may be no PostgreSQL at all.  Its answers are read here and nowhere else.
 * An answer that isn't what was asked for raises 08P01.
 */
#ifndef SYNCEXT_REPLY_H
#define SYNCEXT_REPLY_H

#include "utils/jsonb.h"

#include "compat.h"

/* What the answer to a call looks like. */
typedef struct ReplyShape
{
	const char *call;			/* its name, for messages */
	int			columns;		/* 0: it has no rows, but says that it is done */
	int			min_rows;
	int			max_rows;
	Size		max_bytes;		/* of all values */
} ReplyShape;

typedef struct ReplyCell
{
	char	   *data;			/* NULL: null */
	int			len;
} ReplyCell;

/* All of it is in a memory context of its own. */
typedef struct Reply
{
	MemoryContext context;
	const char *link;
	ReplyShape	shape;
	int			sqlstate;		/* 0: it is good */
	char	   *message;		/* these three of an error; the last two may be NULL */
	char	   *detail;
	char	   *hint;
	int			nrows;
	int			room;			/* for rows */
	ReplyCell  *cells;			/* row by row */
	Size		bytes;
} Reply;

/* ---------- for link/remote, which fills it ---------- */

extern Reply *reply_begin(const char *link, const ReplyShape *shape);
extern void reply_check_columns(const Reply *reply, int columns);
/* Make room for a row; its cells are the caller's to fill in, by reply_add_value. */
extern ReplyCell *reply_add_row(Reply *reply);
extern void reply_add_value(Reply *reply, ReplyCell *cell, const char *data, int len);
/* It was an error; rows that came before count for nothing. */
extern void reply_add_error(Reply *reply, const char *sqlstate, const char *message,
							const char *detail, const char *hint);
/* It has come to its end. */
extern void reply_end(const Reply *reply);

/* ---------- for all of link/ ---------- */

extern void reply_free(Reply *reply);	/* or NULL */
/* Raise the error that the other side answered with, if it is one. */
extern void reply_check(const Reply *reply);
/*
 * Was an error raised by reply_check()?  Then its SQLSTATE says nothing of this
 * server: it isn't this session that was cancelled, nor this process that has an
 * internal error.
 */
extern bool reply_raised(const ErrorData *error);
/* What a reader of link_status needs to know of an error, on one line. */
extern char *reply_error_text(const ErrorData *error);

/*
 * Raise 08P01: the answer to a call breaks the protocol.  What it does is the end
 * of a sentence: "has no row".
 */
pg_noreturn extern void reply_violation(const char *link, const char *call, const char *format,...)
			pg_attribute_printf(3, 4);

/* Values, numbered from 0.  All but the first raise where the value is null. */
extern bool reply_is_null(const Reply *reply, int row, int column);
extern const char *reply_text(const Reply *reply, int row, int column); /* the wire's */
extern Size reply_length(const Reply *reply, int row, int column);
extern bool reply_bool(const Reply *reply, int row, int column);
extern int64 reply_int64(const Reply *reply, int row, int column, int64 min, int64 max);
/* In this database's encoding. */
extern const char *reply_string(const Reply *reply, int row, int column);
extern Jsonb *reply_jsonb(const Reply *reply, int row, int column);

/*
 * Convert or parse in the current memory context.  Returns NULL, and in *why the
 * SQLSTATE and the reason, where this database can't hold the value, which says
 * nothing against the other side.
 */
extern const char *reply_try_string(const Reply *reply, int row, int column, const char **why);
extern Jsonb *reply_try_jsonb(const Reply *reply, int row, int column, const char **why);

#endif							/* SYNCEXT_REPLY_H */
