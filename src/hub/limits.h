/*
 * limits.h
 *	  What one change may make of a record, so that it stays one that everybody
 *	  can be sent, and change.
 */
#ifndef SYNCEXT_LIMITS_H
#define SYNCEXT_LIMITS_H

#include "model/ladder.h"

/*
 * May the change be decided, and its decision be carried out, on a record that is
 * as before says?  Else false, and *error says why.  A record that is beyond a limit
 * already, as limits are lowered, may shrink.
 */
extern bool limits_version(const Change *change, const Record *before, ChangeError *error);
extern bool limits_record(const Change *change, const Record *before, const Decision *decision,
						  ChangeError *error);

/* More than a document may be nested?  Looks at no more of it than that. */
extern bool limits_depth(JsonbContainer *document, Size bytes, ChangeError *error);

#endif							/* SYNCEXT_LIMITS_H */
