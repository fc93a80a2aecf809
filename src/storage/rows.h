/*
 * rows.h
 *	  Executor-level reads and writes of syncext's own tables, without SPI.
 *
 * A Rows is an open table with its indexes, slots and executor state, kept
 * for the whole of a call.  Finding takes an MVCC snapshot: the latest one
 * in READ COMMITTED, the transaction's in REPEATABLE READ and above.  Writing
 * is optimistic: rows_update and rows_delete act on the row version that
 * rows_find returned and say so when it has moved on.
 *
 * No privileges are checked here: callers have checked the right to act.
 */
#ifndef SYNCEXT_ROWS_H
#define SYNCEXT_ROWS_H

#include "executor/tuptable.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "storage/shapes.h"

typedef struct Rows Rows;
typedef struct RowsScan RowsScan;

typedef enum RowsOutcome
{
	ROWS_DONE,
	ROWS_MOVED					/* another transaction changed or deleted the
								 * row: find it again and decide again */
} RowsOutcome;

#define ROWS_MAX_KEYS	5

/*
 * Open a table of schema syncext.  Writing takes RowExclusiveLock and refuses
 * read-only transactions and parallel workers; reading AccessShareLock.  The
 * lock is kept until the end of the transaction.
 */
extern Rows *rows_open_read(Oid relid);
extern Rows *rows_open_write(Oid relid);
/* Any table, to find rows by its primary key and lock them. */
extern Rows *rows_open_lock(Oid relid);
/* Find and scan by the latest snapshot in every isolation level. */
extern void rows_see_latest(Rows *rows);
/* New rows go behind all others, not into room that VACUUM has found between them. */
extern void rows_append_only(Rows *rows);
extern void rows_close(Rows *rows);
/*
 * How many tables that others have put triggers on were opened for writing so far, in
 * this backend.  Such a one must be closed before the trigger that opened it returns.
 */
extern uint64 rows_brackets(void);
extern TupleDesc rows_desc(const Rows *rows);
/* Has the table no page at all?  Then it need not be searched. */
extern bool rows_empty(const Rows *rows);

/*
 * Find the first row whose leading columns of the primary key equal the keys.  Until the
 * next find it is the found row, which rows_value() and its like read.
 */
extern bool rows_find(Rows *rows, int nkeys, const Datum *keys);
/*
 * Like rows_find() with all of the primary key, but looks only where the row was found
 * once: false if it isn't there any more, or not with these keys.
 */
extern bool rows_find_at(Rows *rows, const ItemPointerData *at, int nkeys, const Datum *keys);
/*
 * Find n rows ahead, by one snapshot: the next rows_find of each of these keys has what was
 * found here.  The keys, nkeys values each, are asked for in this order; they are copied.
 * order numbers them, from 0, in the order of the index; NULL: they come in it.  places are
 * hints, or not valid, where this transaction has read their rows before; NULL: nowhere.  A key that
 * is absent may be asked for once more, if nothing is written before.  Until the keys were
 * asked for, the transaction may write these rows through this Rows alone; what other
 * transactions have done to them a write tells, as ever.  Returns false where the keys
 * are so far from one another that looking ahead is not worth its while.
 */
extern bool rows_look_ahead(Rows *rows, int n, int nkeys, const Datum *keys, const int *order,
							const ItemPointerData *places);
/* What was found ahead and not asked for is searched for again. */
extern void rows_forget_ahead(Rows *rows);
#define ROWS_AHEAD		128		/* rows at most */
/* Where the found row is. */
extern ItemPointerData rows_place(const Rows *rows);
extern Datum rows_value(const Rows *rows, int column, bool *isnull);	/* column from 1 */
extern Datum rows_datum(const Rows *rows, int column);	/* of one that isn't null */
/* How large the value is, without being read; 0: it is null. */
extern Size rows_bytes(const Rows *rows, int column);
extern bool rows_is_null(const Rows *rows, int column);
/* All columns that the extension has made, of a table of ours. */
extern void rows_values(const Rows *rows, Datum *values, bool *isnull);
/* What they are, as the install script makes the table. */
extern const TableShape *rows_shape(const Rows *rows);
/* The number of such a column. */
extern int	rows_column(const Rows *rows, const char *name);
/* Which transaction wrote the found row; FrozenTransactionId: long ago. */
extern TransactionId rows_written_by(const Rows *rows);
/* Has nobody locked, updated or deleted it since, nor tried to?  Else that isn't known. */
extern bool rows_is_untouched(const Rows *rows);

/* Which rows of an index a scan walks. */
typedef struct RowsRange
{
	int			nkeys;			/* the first nkeys columns equal the keys */
	const Datum *keys;
	int			nafter;			/* the next nafter, compared as a row, are
								 * greater than the values in after */
	const Datum *after;
	bool		has_last;		/* column nkeys + 1 is at most last */
	Datum		last;
	bool		backward;		/* from the end of the range to its start */
} RowsRange;

/*
 * Walk an index range in index order.  An index has a name that lives as long as the
 * Rows, for REINDEX CONCURRENTLY puts another one in its place; NULL: the primary key.  One snapshot serves the whole scan.
 * rows_scan_begin is for a range that has no last.
 */
extern RowsScan *rows_scan_range(Rows *rows, const char *index, const RowsRange *range);
extern RowsScan *rows_scan_begin(Rows *rows, const char *index, int nkeys, const Datum *keys,
								 int nafter, const Datum *after);
extern bool rows_scan_next(RowsScan *scan);	/* the row is the found one then */
extern void rows_scan_end(RowsScan *scan);

/*
 * Tell of each entry of the index from first to last, all of whose columns but the last, which
 * is text, are like first's: what can't be seen has one, too, and so has each version of a row.
 * Returns false if there are more than max.
 */
extern bool rows_note_entries(Rows *rows, const char *index, int nkeys, const Datum *first, Datum last,
							  int max, void (*note) (void *arg, const text *value), void *arg);

/* Walk all rows in the order of their places: each is the found one when function is called. */
extern void rows_walk(Rows *rows, void (*function) (Rows *rows, void *arg), void *arg);

/*
 * Find many rows by one snapshot: seek as often as needed, end it as a scan.
 * Cheapest where the keys come in index order.  What keys point to must stay
 * until the next seek.
 */
extern RowsScan *rows_seek_begin(Rows *rows, const char *index, int nkeys);
extern bool rows_seek(RowsScan *scan, const Datum *keys);

/*
 * Write.  values/isnull are the whole row as the extension knows it; what a DBA
 * has added keeps its value, or gets its default.  rows_insert raises on a duplicate
 * key; rows_insert_new returns false if the primary key exists (now, or in a
 * transaction that has just committed): find it again.
 */
/* Has the table something of a DBA's that is evaluated for each row? */
extern bool rows_guarded(const Rows *rows);
/*
 * Evaluate that for such a row: CHECKs, defaults, generated columns and indexes.  Returns
 * the CHECK that is false, or NULL.  May raise whatever the expressions do, to be
 * caught in a subtransaction; then *constraint is the CHECK that did, or NULL.
 */
extern const char *rows_violated(Rows *rows, bool insert, const Datum *values, const bool *isnull,
								 const char **constraint);
extern void rows_insert(Rows *rows, const Datum *values, const bool *isnull);
extern bool rows_insert_new(Rows *rows, const Datum *values, const bool *isnull);
/*
 * Insert a row, together with others: when they are many, at rows_flush, or when the
 * table is closed.  Then it may raise what rows_insert does.  The row is not found
 * before; what values point to is copied.
 */
extern void rows_insert_later(Rows *rows, const Datum *values, const bool *isnull);
/* False in a subtransaction of its own, where rows_insert_later() is rows_insert(). */
extern bool rows_may_wait(const Rows *rows);
/* Let rows_find() and rows_look_ahead() insert first what waits; scans and seeks don't. */
extern void rows_show_waiting(Rows *rows);
extern void rows_flush(Rows *rows);
extern RowsOutcome rows_update(Rows *rows, const Datum *values, const bool *isnull);
extern RowsOutcome rows_delete(Rows *rows);
/*
 * A moment, as far as concerns what the latest snapshot shows of a table: it lasts until another
 * transaction that has written something ends, or ours writes by other means than those
 * of this header.
 */
typedef struct RowsMoment
{
	uint64		completed;		/* transactions, as the server counts them */
	CommandId	foreign;		/* commands of ours that weren't rows' own */
} RowsMoment;

extern RowsMoment rows_moment(void);
extern bool rows_moment_lasts(const RowsMoment *moment);
/* Lock the found row as SELECT … FOR NO KEY UPDATE does. */
extern RowsOutcome rows_lock(Rows *rows);
/* Like rows_lock(), but without waiting; false: another transaction has it. */
extern bool rows_try_lock(Rows *rows);
/* Like rows_try_lock(), but tells, too, if the row has moved. */
extern RowsOutcome rows_lock_free(Rows *rows, bool *busy);
/* Lock the newest version; find again then: for callers that other writers overtake. */
extern void rows_lock_newest(Rows *rows);

#endif							/* SYNCEXT_ROWS_H */
