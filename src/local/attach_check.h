/*
 * attach_check.h
 *	  What can be attached: a relation, its key and its columns.
 */
#ifndef SYNCEXT_ATTACH_CHECK_H
#define SYNCEXT_ATTACH_CHECK_H

#include "utils/rel.h"

#include "storage/binding.h"

/* Raise if the relation can't be bound so.  A binding without a key gets the primary key. */
extern void attach_check(Relation rel, Binding *binding);

#endif							/* SYNCEXT_ATTACH_CHECK_H */
