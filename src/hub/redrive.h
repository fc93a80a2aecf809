/*
 * redrive.h
 *	  What failed is due again.
 */
#ifndef SYNCEXT_REDRIVE_H
#define SYNCEXT_REDRIVE_H

#include "fmgr.h"

/*
 * With the arguments of sync_redrive: make a source's retries, dead letters, parked
 * changes and uncaptured rows due now, as if they had never failed.  Returns how many.
 */
extern int64 redrive_failed(FunctionCallInfo fcinfo);

#endif							/* SYNCEXT_REDRIVE_H */
