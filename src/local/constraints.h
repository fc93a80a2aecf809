/*
 * constraints.h
 *	  When deferrable constraints are checked, in a section and for the caller.
 */
#ifndef SYNCEXT_CONSTRAINTS_H
#define SYNCEXT_CONSTRAINTS_H

#include "nodes/parsenodes.h"

/* Defer all deferrable constraints from here on; the caller has nothing deferred. */
extern void constraints_defer(void);
/*
 * Check what is deferred; from here on nothing is.  What the caller has deferred is checked as
 * the caller, and fails its call.
 */
extern void constraints_check(void);
/* Have constraints checked as the caller had it before. */
extern void constraints_restore(void);

/* The caller says SET CONSTRAINTS. */
extern void constraints_note(const ConstraintsSetStmt *statement);

#endif							/* SYNCEXT_CONSTRAINTS_H */
