/*
 * writer.h
 *	  Reading, locking and writing rows of attached relations, as their owner.
 */
#ifndef SYNCEXT_WRITER_H
#define SYNCEXT_WRITER_H

#include "lib/stringinfo.h"
#include "nodes/bitmapset.h"

#include "local/attached_relation.h"
#include "local/table_code.h"

typedef struct Writer
{
	int			patience;		/* ms to wait for locks of others, in all */
	bool		holds_rows;		/* set by the caller: others may wait for us */
	int			nabroad;		/* rows of foreign servers that were waited for in vain */
	TableCode	code;			/* who called, while the owner acts */
	MemoryContext context;		/* of who entered */
	int			nest_level;		/* of what is set while a record is placed; 0: nothing can be yet */
	ItemPointerData at;			/* where the row is that was locked last, or where the next one may
								 * be; not valid: not known */
	Oid			alone;			/* set by the caller: nobody else writes this relation, its rows
								 * need no locks, and we wait for nobody */
	struct Rows *rows;			/* open to lock rows of a table, or NULL: */
	Oid			relid;			/* this one */
	struct RowsScan *seek;		/* for keys that aren't in it, or NULL: */
	uint64		seek_ended;		/* as of this number of writers_ended() */
} Writer;

typedef enum WriterLock
{
	WRITER_ABSENT,				/* there is no such row */
	WRITER_LOCKED,				/* it is locked, and read */
	WRITER_BUSY					/* another transaction holds it */
} WriterLock;

/*
 * Between enter and leave statements run as the owner of the relations.  Needs an SPI
 * connection.  An error leaves by itself.  deferring: deferrable constraints are
 * checked by leave; the caller has called constraints_check() before, and calls
 * constraints_restore() in the end.
 */
extern void writer_enter(Writer *writer, Oid owner, bool deferring);
extern void writer_leave(Writer *writer);

/*
 * A record begins and ends: what code of the table sets meanwhile goes with it.  An error
 * ends it by itself.
 */
extern void writer_begin_record(Writer *writer, const Attached *attached);
extern void writer_end_record(Writer *writer);
/*
 * From here on code of the table may run.  The edit of this row (NULL: it has no key yet), and
 * of no other, goes uncaptured.
 */
extern void writer_begin_write(Writer *writer, const Attached *attached, const char *key_text);

/*
 * Append "WHERE t.column = $1", or for those behind the first (i > 0) "AND t.column = $i".  The
 * operator is named in full, as search_path is short.
 */
extern void writer_append_equal(StringInfo sql, int i, const char *column, Oid operator);

/* Rows come back in the current memory context, with the key and the fields. */
extern bool writer_read(Attached *attached, AttachedRow key, AttachedRow *row);
/* Find a row by the column that has its record's id. */
extern bool writer_read_by_id(Attached *attached, const char *external_id, AttachedRow *row);
/* Find a row of a table with has_key_index, and let others write it. */
extern bool writer_peek(Writer *writer, const Attached *attached, AttachedRow key, AttachedRow *row);
/*
 * Is there no such row in a table with has_key_index?  Cheapest where keys come in index order.
 * What was found for the same number of writers_ended() is relied upon.
 */
extern bool writer_lacks(Writer *writer, const Attached *attached, AttachedRow key, uint64 ended);
/* likely: the row is expected to be there */
extern WriterLock writer_lock(Writer *writer, Attached *attached, AttachedRow key, bool likely,
							  AttachedRow *row);
/*
 * columns: attribute numbers.  The row comes back as it was stored.  A row to be
 * updated is found at once where key says at which place it was locked.
 */
extern void writer_insert(Writer *writer, Attached *attached, AttachedRow values,
						  Bitmapset *columns, AttachedRow *stored);
/* The caller reads what was stored, as the relation may have filled its key. */
extern void writer_insert_blind(Writer *writer, Attached *attached, AttachedRow values,
								Bitmapset *columns);
extern void writer_update(Writer *writer, Attached *attached, AttachedRow key, AttachedRow values,
						  Bitmapset *columns, AttachedRow *stored);
extern void writer_delete(Writer *writer, Attached *attached, AttachedRow key);

#endif							/* SYNCEXT_WRITER_H */
