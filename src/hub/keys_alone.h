/*
 * keys_alone.h
 *	  Giving sources' own keys to other records, with nobody going by them meanwhile.
 */
#ifndef SYNCEXT_KEYS_ALONE_H
#define SYNCEXT_KEYS_ALONE_H

#include "storage/registry.h"

/* Raise 55000 if a hub behind a link decides for the entity: there it is done. */
extern void keys_alone_check_entity(const Entity *entity);

/*
 * Let nothing be delivered to the sources, names in their order, and nobody go by keys of
 * theirs until the transaction ends.  Raises 55P03 while one that does goes on, and 25000
 * where what others commit isn't seen.  As the sources wait, nothing is waited for longer
 * than syncext.maintain_lock_timeout until keys_alone_end(), which gets what this returns.
 */
extern int	keys_alone_begin(const List *sources);
extern void keys_alone_end(int nest_level);

#endif							/* SYNCEXT_KEYS_ALONE_H */
