/*
 * edit_places.h
 *	  Where the edits that were captured of records stand in the change log.
 */
#ifndef SYNCEXT_EDIT_PLACES_H
#define SYNCEXT_EDIT_PLACES_H

#include "model/fold.h"
#include "storage/record_set.h"
#include "storage/replica.h"

typedef struct EditPlace
{
	LogPosition at;
	int			table;
	int			next;			/* the record's next, from 1; 0: none */
} EditPlace;

typedef struct EditPlaces
{
	MemoryContext context;		/* NULL: there are none */
	RecordSet  *records;		/* number: of its last place */
	int			n;
	int			room;
	EditPlace  *places;
} EditPlaces;

/* They live as long as the backend does, or until they are forgotten. */
extern void edit_places_begin(EditPlaces *places);
extern void edit_places_forget(EditPlaces *places);

/* Note the row for the entry that records has of its record. */
extern void edit_places_add(EditPlaces *places, RecordSetEntry *entry, const FeedRow *row);

/* The places of a record's edits from a seq on, in the order of their seq: how many? */
extern int	edit_places_of(const EditPlaces *places, const char *entity, const char *external_id,
						   int64 from_seq, EditPlace **of);
extern bool edit_places_any(const EditPlaces *places, const char *entity, const char *external_id,
							int64 from_seq);

/*
 * Fold the edits at these places of a row, of which the replica is known; *bytes rises by what
 * they take.  False: there is one that was edited to what it can't be.
 */
extern bool edit_places_fold(FeedSeek *seek, const EditPlace *places, int n,
							 const ReplicaRow *replica, Fold *fold, Size *bytes);

#endif							/* SYNCEXT_EDIT_PLACES_H */
