/*
 * draw_key.h
 *	  Keys for rows that are delivered to a relation which draws its keys itself.
 */
#ifndef SYNCEXT_DRAW_KEY_H
#define SYNCEXT_DRAW_KEY_H

#include "local/attached_relation.h"

/* Values for the key columns alone.  The caller acts as the relation's owner. */
extern AttachedRow draw_key(Attached *attached);
/* Do the defaults give them without a look at any table, the relation's own above all? */
extern bool draw_key_is_blind(Attached *attached);

#endif							/* SYNCEXT_DRAW_KEY_H */
