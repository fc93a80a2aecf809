/*
 * coming.h
 *	  Records that failed to go in only because another has yet to come.
 */
#ifndef SYNCEXT_COMING_H
#define SYNCEXT_COMING_H

#include "local/work.h"

/* Is a record on its way to its relation that the item was refused for lack of? */
extern bool coming_parent(const WorkItem *item);

#endif							/* SYNCEXT_COMING_H */
