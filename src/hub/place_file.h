/*
 * place_file.h
 *	  Where very many captured edits stand in the change log, in a temporary file.
 */
#ifndef SYNCEXT_PLACE_FILE_H
#define SYNCEXT_PLACE_FILE_H

#include "hub/edit_places.h"

typedef struct PlaceFile PlaceFile;

/*
 * Its memory is a child of the context, and it outlives the transaction: it must be freed
 * before the context is, or the file stays open until the backend ends.
 */
extern PlaceFile *place_file_begin(MemoryContext context);
extern void place_file_free(PlaceFile *file);

extern void place_file_add(PlaceFile *file, RecordSetKey key, const FeedRow *row);
/* No more is added: from here on it can be asked.  In the transaction that began it. */
extern void place_file_complete(PlaceFile *file);

/* As edit_places_of() and edit_places_any(). */
extern int	place_file_of(PlaceFile *file, const char *entity, const char *external_id,
						  int64 from_seq, EditPlace **of);
extern bool place_file_any(PlaceFile *file, const char *entity, const char *external_id,
						   int64 from_seq);

#endif							/* SYNCEXT_PLACE_FILE_H */
