/*
 * replica.h
 *	  What was delivered to the rows of attached relations (table
 *	  syncext.replica): the row version that the next edit is based on.
 */
#ifndef SYNCEXT_REPLICA_H
#define SYNCEXT_REPLICA_H

#include "utils/jsonb.h"

typedef struct Replica Replica;

typedef struct ReplicaRow
{
	bool		exists;			/* something was delivered to the row */
	int64		row_version;	/* of the record, last delivered; 0 if nothing was */
	Jsonb	   *fields;			/* of a polled relation, else NULL */
	Jsonb	   *held;			/* {field: row version it was last delivered at} of
								 * the fields that a conflict keeps back, or NULL */
	int64		adjusted;		/* the row version that came of it when the relation's
								 * triggers changed what was delivered; 0: none */
} ReplicaRow;

extern Replica *replica_open(bool write);
extern void replica_close(Replica *replica);

/* Read a row in the current memory context. */
extern void replica_find(Replica *replica, Oid relation, const char *external_id,
						 ReplicaRow *row);
/* Write over the row that is there, or insert one. */
extern void replica_set(Replica *replica, Oid relation, const char *external_id,
						const ReplicaRow *row);
extern void replica_remove_all(Oid relation);

#endif							/* SYNCEXT_REPLICA_H */
