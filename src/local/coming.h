/*
 * coming.h
 *	  Records that failed to go in only because another has yet to come.
 */
#ifndef SYNCEXT_COMING_H
#define SYNCEXT_COMING_H

#include "local/item_batch.h"

/* Is a record on its way to its relation that the item was refused for lack of? */
extern bool coming_parent(const BatchItem *item);

#endif							/* SYNCEXT_COMING_H */
