/*
 * backfill.h
 *	  A target's cursors together: where they start, what they walk through,
 *	  and how many there are.
 */
#ifndef SYNCEXT_BACKFILL_H
#define SYNCEXT_BACKFILL_H

#include "storage/cursor.h"

/*
 * Set the target's cursors to now and let them walk through the golden records;
 * make one if there is none.
 */
extern void cursor_start(const char *source);

/*
 * Let the target be pulled with so many slots.  Raises 55006 while a batch of
 * the old ones is out.  Does nothing if it has them; a cursor that is missing
 * makes the target start anew.
 */
extern void cursor_set_slots(const char *target, int slots);

#endif							/* SYNCEXT_BACKFILL_H */
