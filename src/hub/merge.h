/*
 * merge.h
 *	  Two records become one.
 */
#ifndef SYNCEXT_MERGE_H
#define SYNCEXT_MERGE_H

/*
 * Let a record become part of another one of its entity; the caller has checked that the
 * user may.  Returns the merge's number.
 */
extern int64 merge_records(const char *entity, const char *keep, const char *drop,
						   const char *note);

#endif							/* SYNCEXT_MERGE_H */
