/*
 * inspect.h
 *	  Who may look at golden records.
 */
#ifndef SYNCEXT_INSPECT_H
#define SYNCEXT_INSPECT_H

#include "storage/registry.h"

/* Raises 42501 if the current user may not read records of the entity. */
extern void inspect_check_may_read(const Registry *registry, const char *entity);

#endif							/* SYNCEXT_INSPECT_H */
