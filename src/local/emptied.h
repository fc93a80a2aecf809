/*
 * emptied.h
 *	  Partitions of attached tables that have no rows when they are dropped.
 */
#ifndef SYNCEXT_EMPTIED_H
#define SYNCEXT_EMPTIED_H

#include "nodes/nodes.h"

/* If the statement that begins drops some, forget that the attached tables had them. */
extern void emptied_look(const Node *statement);

#endif							/* SYNCEXT_EMPTIED_H */
