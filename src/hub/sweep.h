/*
 * sweep.h
 *	  Parked changes whose time has come.
 */
#ifndef SYNCEXT_SWEEP_H
#define SYNCEXT_SWEEP_H

#include "datatype/timestamp.h"

/* When the first one is; DT_NOEND: none ever. */
extern TimestampTz sweep_next_due(void);
/* Try those that are due, at most n; returns how many were applied. */
extern int	sweep_due(int n);

#endif							/* SYNCEXT_SWEEP_H */
