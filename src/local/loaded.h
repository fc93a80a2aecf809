/*
 * loaded.h
 *	  Whether a relation and the hub were brought together, and with which columns.
 */
#ifndef SYNCEXT_LOADED_H
#define SYNCEXT_LOADED_H

#include "local/attached_relation.h"

/* The relation was attached just now: without rows, there is nothing to load. */
extern void loaded_at_attach(Oid relid);
/*
 * A relation without capture triggers was attached just now: what is remembered of its
 * rows is of these columns.
 */
extern void loaded_columns(Oid relid);
/*
 * Forget what was agreed on of columns that were dropped, and came again as others of
 * their names.  Returns whether there are any.
 */
extern bool loaded_forget_dropped(const Attached *attached);
/* All of its rows and the hub have been compared. */
extern void loaded_note(const Attached *attached);
/*
 * Remember which partitions it has, and of what types its fields are, for sync_check() to
 * compare: what was remembered before stays, but where all rows are as the hub has them
 * (columns), or all of the hub's records have their rows (partitions).
 */
extern void loaded_note_shape(Oid relid, bool columns, bool partitions);

#endif							/* SYNCEXT_LOADED_H */
