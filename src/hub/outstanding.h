/*
 * outstanding.h
 *	  Captured edits that the hub behind a link has not answered yet.
 */
#ifndef SYNCEXT_OUTSTANDING_H
#define SYNCEXT_OUTSTANDING_H

/*
 * Has the record an edit with this seq or a higher one that waits to be sent, or to
 * be answered?  What this transaction itself has captured isn't seen.
 */
extern bool outstanding_has(const char *source, const char *entity, const char *external_id,
							int64 settled);

#endif							/* SYNCEXT_OUTSTANDING_H */
