/*
 * field_stamp.h
 *	  What the field ladder orders its changes by.
 */
#ifndef SYNCEXT_FIELD_STAMP_H
#define SYNCEXT_FIELD_STAMP_H

#include "model/ladder.h"

extern int	field_stamp_cmp(Ladder ladder, const LifeStamp *a, const LifeStamp *b);
/* Of two that said the same at one stamp, by the names of their sources, too. */
extern int	field_stamp_cmp_sayings(Ladder ladder, const LifeStamp *a, const LifeStamp *b);
extern const LifeStamp *field_stamp_greater(Ladder ladder, const LifeStamp *a, const LifeStamp *b);

extern LifeStamp field_stamp_of(const RecordField *field);
/* The record's own stamp, and its life where that doesn't say all of it. */
extern void field_stamp_record(Ladder ladder, const Life *life, Record *after);

extern void field_stamp_raise(const LifeStamp *stamp, LifeStamp *known);
extern void field_stamp_raise_by_life(const Life *life, LifeStamp *known);
/* All that was said of the record, and of its life, is at this stamp or below it. */
extern LifeStamp field_stamp_known(const Record *record);
/*
 * The stamp of an edit that was made on what is known, and says itself of which version
 * or time it is, if it does.
 */
extern LifeStamp field_stamp_above(const LifeStamp *known, const LifeStamp *own);

#endif							/* SYNCEXT_FIELD_STAMP_H */
