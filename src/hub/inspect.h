/*
 * inspect.h
 *	  Who may look at golden records.
 */
#ifndef SYNCEXT_INSPECT_H
#define SYNCEXT_INSPECT_H

#include "model/change.h"
#include "storage/registry.h"

/* Raises 42501 if the current user may not read records of the entity. */
extern void inspect_check_may_read(const Registry *registry, const char *entity);
/* The same if all that it may read of a field that the change names is masked. */
extern void inspect_check_mask(const Registry *registry, const Change *change);

#endif							/* SYNCEXT_INSPECT_H */
