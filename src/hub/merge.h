/*
 * merge.h
 *	  Two records become one.
 */
#ifndef SYNCEXT_MERGE_H
#define SYNCEXT_MERGE_H

#include "model/fields.h"

/*
 * Let a record become part of another one of its entity; the caller has checked that the
 * user may.  Returns the merge's number.
 */
extern int64 merge_records(const char *entity, const char *keep, const char *drop,
						   const char *note);

/* An object whose only member "names" they are, as a literal of SQL. */
extern char *merge_names_literal(const FieldNames *names);

#endif							/* SYNCEXT_MERGE_H */
