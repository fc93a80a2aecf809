/*
 * field_impose.h
 *	  What the hub itself makes of a record of a field ladder.
 */
#ifndef SYNCEXT_FIELD_IMPOSE_H
#define SYNCEXT_FIELD_IMPOSE_H

#include "model/ladder.h"

/*
 * What after says otherwise than before, and that it is gone or lives again, is said later
 * than all that was known of the record, and than above (or NULL): so it stands in every
 * hub that is joined.  A value is said by whom its stamp names, the rest by after's last source.
 */
extern void field_impose(Ladder ladder, DeleteMode deletes, const LifeStamp *above,
						 const Record *before, Record *after);

#endif							/* SYNCEXT_FIELD_IMPOSE_H */
