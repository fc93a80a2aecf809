/*
 * repoint.h
 *	  What refers to a record that was merged into another one comes to refer to that.
 */
#ifndef SYNCEXT_REPOINT_H
#define SYNCEXT_REPOINT_H

#include "hub/maintenance.h"

/* A step of sync_maintain. */
extern void repoint_go_on(Maintenance *m);

#endif							/* SYNCEXT_REPOINT_H */
