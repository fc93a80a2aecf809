/*
 * key_children.h
 *	  Records that refer to one whose key is another's now.
 */
#ifndef SYNCEXT_KEY_CHILDREN_H
#define SYNCEXT_KEY_CHILDREN_H

#include "hub/apply_item.h"

/*
 * Let the records that a source has said itself to refer to a record of the entity refer to
 * the one that its key is of now.  Returns how many there are.  Reads all records of entities
 * that may refer to it.
 */
extern int	key_children_move(ApplyCall *call, const char *source, const char *entity,
							  const char *from, const char *to);

/*
 * Tell all of the records that refer to the record, by its id or an alias of it: what targets
 * were sent for it was a key that is another's now.  detail is of the log.
 */
extern void key_children_tell(ApplyCall *call, const char *entity, const char *id, Jsonb *detail);

#endif							/* SYNCEXT_KEY_CHILDREN_H */
