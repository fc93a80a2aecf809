/*
 * unheld.h
 *	  Records that were read while their rows, which weren't there, could not be held.
 */
#ifndef SYNCEXT_UNHELD_H
#define SYNCEXT_UNHELD_H

#include "local/row_state.h"

typedef struct Unheld Unheld;

/* May a record have been changed that was read when writers_ended() was this? */
extern bool unheld_may_have_moved(uint64 ended);

/*
 * Once the row is inserted: what others have made of its record since that was read comes
 * with the next delivery; what the relation's own source has, as by a row that came and went
 * meanwhile, does not.  Raises 40001 then: the row has to be made again.
 */
extern Unheld *unheld_begin(const Binding *binding);
extern void unheld_check(Unheld *unheld, const char *external_id, int64 row_version);
extern void unheld_end(Unheld *unheld);
/* The same for one row, as its statement has inserted it. */
extern void unheld_check_row(const RowState *p);

#endif							/* SYNCEXT_UNHELD_H */
