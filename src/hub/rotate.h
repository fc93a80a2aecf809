/*
 * rotate.h
 *	  Rotating and truncating the tables of the change log.
 */
#ifndef SYNCEXT_ROTATE_H
#define SYNCEXT_ROTATE_H

#include "hub/maintenance.h"

/* Truncate the log tables that are needed no more. */
extern void rotate_truncate(Maintenance *m);
/* Let the next log table be written to, if it is time and it is empty. */
extern void rotate_switch(Maintenance *m);

#endif							/* SYNCEXT_ROTATE_H */
