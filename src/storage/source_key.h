/*
 * source_key.h
 *	  The keys by which sources with keys of their own know records: table
 *	  syncext.source_key.
 */
#ifndef SYNCEXT_SOURCE_KEY_H
#define SYNCEXT_SOURCE_KEY_H

#include "nodes/pg_list.h"

#include "storage/mapped.h"

typedef MappedTable SourceKeys;

typedef struct SourceKey
{
	const char *source;
	const char *entity;
	const char *source_id;
	const char *external_id;
	bool		duplicate;		/* deliveries don't go to it */
	TimestampTz since;
	int64		gone_batch;		/* in which the source is told that the record is gone; 0: none */
	bool		unsaid;			/* the hub behind the source's link has still to be told; set here */
	int64		merge;			/* that has brought it to its record; 0: none */
} SourceKey;

extern const MappedDef source_key_def;

/*
 * Keep the source's keys where they are until the transaction ends: which record a key is of
 * is looked up after this, and stays so until that record is written.
 */
extern void source_keys_hold(const char *source);
/* Wait until nobody holds them, and keep everybody out.  The caller bounds the wait. */
extern void source_keys_hold_alone(const char *source);

/* Is there such a row?  Opens the table. */
extern bool source_key_is_bound(const SourceKey *key);
/* The key that deliveries of the record go to. */
extern bool source_key_current(SourceKeys *keys, const char *source, const char *entity,
							   const char *external_id, SourceKey *key);
/* That, or where there is none the newest of those that were. */
extern bool source_key_last(SourceKeys *keys, const char *source, const char *entity,
							const char *external_id, SourceKey *key);
/* Those whose record's end the source is told of in the batch, a list of SourceKey. */
extern List *source_keys_gone_in(SourceKeys *keys, const char *source, int64 batch);

/* Those that the hub behind the source's link has still to be told, in the order they were made. */
extern List *source_keys_unsaid(SourceKeys *keys, const char *source, int max);

/*
 * Add a key as of now.  False: it is there, or has just been added.  Waits for another
 * transaction that has added it and goes on.  Raises 23505 where the record has
 * another key of the source's that isn't a duplicate, nor this.
 */
extern bool source_key_add(SourceKeys *keys, const SourceKey *key);
/* Like source_key_add(), but raises 23505 where the key is there. */
extern void source_key_add_free(SourceKeys *keys, const SourceKey *key);
/*
 * Like source_key_add_free(), but the key is there, or raises, when it is flushed, at the latest
 * when the table is closed.
 */
extern void source_key_add_later(SourceKeys *keys, const SourceKey *key);
/*
 * Say of a key if it is a duplicate, and its batch.  False: it is bound to that record no
 * more.  Raises 23505 as source_key_add does.
 */
extern bool source_key_save(SourceKeys *keys, const SourceKey *key);
/* Like source_key_save(), but does nothing where another open transaction has changed the row. */
extern void source_key_try_save(SourceKeys *keys, const SourceKey *key);
/* The hub was told.  Does nothing where the key is another by now, or is being changed. */
extern void source_key_note_said(SourceKeys *keys, const SourceKey *key);
/*
 * Give a key to the record that key->external_id names, as a duplicate or not, from now on.
 * The caller holds the source's keys alone.  False: it isn't bound.  Raises 23505 as
 * source_key_add does.
 */
extern bool source_key_give(SourceKeys *keys, const SourceKey *key);

#endif							/* SYNCEXT_SOURCE_KEY_H */
