/*
 * row_keys.h
 *	  Which record a row is, where the relation draws keys of its own.
 *
 * Everything else of an attached relation goes by the record's external id.  There, and
 * here alone, that is looked up: syncext.source_key has the key of each row.  Rows of
 * relations without keys of their own have the external id for a key.
 */
#ifndef SYNCEXT_ROW_KEYS_H
#define SYNCEXT_ROW_KEYS_H

#include "local/attached_relation.h"
#include "storage/source_key.h"

/* What a row's key is bound to. */
typedef struct RowRecord
{
	const char *external_id;	/* NULL: nothing */
	bool		added;			/* just now, as the row was born */
	bool		ended;			/* its record was deleted here: bind it when that lives */
	bool		duplicate;		/* of two records that were merged: the other one's row is delivered to */
	bool		takes_over;		/* so it was, until that row was deleted */
} RowRecord;

/* The record whose row has this key. */
extern RowRecord row_keys_find(const Binding *binding, const char *key);
/* That, or a new one, to which the key is bound. */
extern RowRecord row_keys_take(const Binding *binding, const char *key);
/*
 * The record of a row that is being inserted.  A key that is bound to a record which lives
 * was drawn twice: the row is a new record all the same, and sync_check tells of it.
 */
extern RowRecord row_keys_birth(const Binding *binding, const char *key);
/*
 * Which record is a row that was read with this key?  A new one, if its key is bound to nothing
 * and no column says it.  NULL: it is a second row of one; or *busy, which is false so far, for
 * another transaction is just binding the key.  Without busy that one is waited for.
 */
extern const char *row_keys_of_row(const Attached *attached, AttachedRow row, const char *key,
								   bool *busy);
/* The key of the record's row; NULL: it has none. */
extern const char *row_keys_of(const Binding *binding, const char *external_id);

/*
 * The row of a record has another key now.  Whatever that named has lost its row unseen: no
 * two rows have one key.
 */
extern void row_keys_move(const Binding *binding, const char *external_id, const char *from,
						  const char *to);

/*
 * Bind a key that is expected to be free.  Raises 23505 if it isn't; later: when the keys are
 * flushed, before which they are not there.
 */
extern void row_keys_add(SourceKeys *keys, const Binding *binding, const char *key,
						 const char *external_id, bool later);
/* The row of a duplicate key is gone. */
extern void row_keys_unbind(const Binding *binding, const char *key);
/* Bind a key that was drawn for a record.  False: it is another's, and lives. */
extern bool row_keys_bind(SourceKeys *keys, const Binding *binding, const char *key,
						  const char *external_id);

#endif							/* SYNCEXT_ROW_KEYS_H */
