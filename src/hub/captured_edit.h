/*
 * captured_edit.h
 *	  An edit that was captured for the hub behind a link, as its row of the change log
 *	  has it.
 */
#ifndef SYNCEXT_CAPTURED_EDIT_H
#define SYNCEXT_CAPTURED_EDIT_H

#include "model/fold.h"
#include "storage/feed_window.h"

/* Read what the row's detail says of the edit.  False: there is something in it that can't be. */
extern bool captured_edit_read(const LogRow *row, FoldEdit *edit);
/*
 * Fold the edit in, its counters moved by what deliveries have moved the row's since: shifts.
 * False: the row was edited to what it can't be.
 */
extern bool captured_edit_fold(Fold *fold, const LogRow *row, int64 seq, int64 base,
							   Jsonb *shifts);

#endif							/* SYNCEXT_CAPTURED_EDIT_H */
